"""A filter that is learned once, over frequencies, and applied to maps of every size.

Shapes: ``N`` samples, ``C`` channels, ``H`` rows, ``W`` columns, ``V`` and ``U`` nodes of the
learned grid. The half spectrum of a map, (H, W // 2 + 1), and the unit of its frequencies,
fractions of Nyquist along each axis, are those of :mod:`mmkd.ops.fourier`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd.ops.fourier import frequency_grid, frequency_mask


def frequency_response(nodes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Interpolate a learned filter linearly at the bins of a map's half spectrum.

    The nodes lie evenly over vertical frequencies from -1 to 1 and horizontal ones from 0 to 1,
    ends included, so a frequency meets one gain whatever the size of the map it occurs in.

    Args:
        nodes: (2, C, V, U): real and imaginary parts.
        shape: (H, W) of the map.

    Returns:
        (C, H, W // 2 + 1), complex.
    """
    rows, columns = frequency_grid(shape, nodes.device, nodes.dtype)
    rows = _weights((rows.flatten() + 1) / 2, nodes.shape[2])
    columns = _weights(columns.flatten(), nodes.shape[3])
    real, imaginary = rows @ nodes @ columns.T
    return torch.complex(real, imaginary)


def filter_globally(x: Tensor, nodes: Tensor, cutoff: float) -> Tensor:
    """Multiply every channel's spectrum by its learned filter, and low frequencies by 0.

    The inverse transform of a real map's half spectrum is real: of a filter's gains along the
    vertical axis only the part that is conjugate-symmetric acts.

    Args:
        x: (N, C, H, W), float32 or float64.
        nodes: (2, C, V, U), in the type of ``x``; see :func:`frequency_response`.
        cutoff: Radius inside which nothing passes, in fractions of Nyquist, in (0, 1]. The
            zero frequency, a channel's mean, never does.

    Returns:
        (N, C, H, W).
    """
    shape = (x.shape[-2], x.shape[-1])
    high = frequency_mask(shape, 0, 1, cutoff, 'ideal', x.device, x.dtype)
    spectrum = torch.fft.rfft2(x) * (frequency_response(nodes, shape) * high)
    return torch.fft.irfft2(spectrum, s=shape)


def _weights(position: Tensor, nodes: int) -> Tensor:
    """Weights (B, nodes) of linear interpolation at ``position`` (B,), in [0, 1]."""
    node = torch.arange(nodes, device=position.device, dtype=position.dtype)
    return (1 - (position[:, None] * (nodes - 1) - node).abs()).clamp(min=0)
