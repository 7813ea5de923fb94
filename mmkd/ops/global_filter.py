"""A filter that is learned once, over frequencies, and applied to maps of every size.

Shapes: see :mod:`mmkd.ops`; ``V`` and ``U`` are the nodes of the learned grid. The half spectrum,
(H, W // 2 + 1), and the unit of frequencies, fractions of Nyquist along each axis, are those of
:mod:`mmkd.ops.fourier`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd.ops.fourier import frequency_grid, frequency_mask


def frequency_response(nodes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Interpolate a learned filter linearly at the bins of a map's half spectrum.

    The nodes lie evenly over vertical frequencies from -1 to 1 and horizontal ones from 0 to 1,
    ends included. A frequency therefore gets the same gain in maps of every size.

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


def apply_global_filter(x: Tensor, nodes: Tensor, cutoff: float) -> Tensor:
    """Multiply every channel's spectrum by its learned filter; set low frequencies to 0.

    The inverse transform of a half spectrum is real. Of the gains along the vertical axis, only the
    conjugate-symmetric part has an effect.

    Args:
        x: (B, C, H, W), float32 or float64.
        nodes: (2, C, V, U), in the type of ``x``; see :func:`frequency_response`.
        cutoff: Radius below which nothing passes, in fractions of Nyquist, in (0, 1]. The zero
            frequency, a channel's mean, never passes.

    Returns:
        (B, C, H, W).
    """
    shape = (x.shape[-2], x.shape[-1])
    high = frequency_mask(shape, 0, 1, cutoff, 'ideal', x.device, x.dtype)
    spectrum = torch.fft.rfft2(x) * (frequency_response(nodes, shape) * high)
    return torch.fft.irfft2(spectrum, s=shape)


def global_and_local(
    x: Tensor,
    nodes: Tensor,
    mixing: Tensor,
    local: Tensor,
    bias: Tensor,
    branches: Tensor,
    cutoff: float,
) -> Tensor:
    """Return ``a * mixing(filter(x)) + b * (local(x) + bias)``, a global and a local branch.

    Args:
        x: (B, C, H, W), float32 or float64.
        nodes: The learned filter, (2, C, V, U); see :func:`apply_global_filter`.
        mixing: 1x1 weight of the global branch, (C', C).
        local: 1x1 weight of the local branch, (C', C).
        bias: Bias of the local branch, (C',).
        branches: The factors ``a`` and ``b``, (2,).
        cutoff: Radius of the high-pass; see :func:`apply_global_filter`.

    Returns:
        (B, C', H, W).
    """
    a, b = branches
    filtered = apply_global_filter(x, nodes, cutoff)
    return a * _mix(filtered, mixing) + b * (_mix(x, local) + bias[:, None, None])


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    """Mix the channels of ``x`` (B, C, H, W) by ``weight`` (C', C)."""
    return torch.einsum('oc,bchw->bohw', weight, x)


def _weights(position: Tensor, nodes: int) -> Tensor:
    """Return weights (P, nodes) of linear interpolation at ``position`` (P,), in [0, 1]."""
    node = torch.arange(nodes, device=position.device, dtype=position.dtype)
    return (1 - (position[:, None] * (nodes - 1) - node).abs()).clamp(min=0)
