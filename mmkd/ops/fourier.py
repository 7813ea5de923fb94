"""Frequency filters and band-limited resampling of feature maps.

Shapes: see :mod:`mmkd.ops`. The spectrum of a real map is stored as its non-redundant half,
(..., H, W // 2 + 1), in the order of :func:`torch.fft.rfft2`: the zero frequency comes first.

Units: frequencies and radii are fractions of the Nyquist frequency *of each axis*, so 1 is half a
cycle per pixel for every map size. On a map that is not square, a radius describes an ellipse. The
corner of the spectrum lies at radius sqrt(2).

Every filter is one real mask ``low * L + high * (1 - L)``, where ``L`` is a low-pass. A low-pass is
(1, 0), a high-pass is (0, 1), and a ratio ``alpha`` is (alpha, 1 - alpha). Filters are linear. The
mask applies on the grid of the comparison: a larger map is resampled first.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from mmkd.errors import UserError, check_choice, check_number, is_integer

FILTERS = ('gaussian', 'ideal', 'butterworth')
_BUTTERWORTH_ORDER = 2
# Elements that one transform processes at a time on a CPU. The spectrum (4 MB in float32) then
# stays in the cache, and the memory allocator reuses the same pages.
_CPU_CHUNK = 2**20


def frequency_grid(
    shape: tuple[int, int],
    device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Return the frequencies of the half spectrum of a map, in fractions of Nyquist.

    Args:
        shape: (H, W) of the map.

    Returns:
        Vertical frequencies (H, 1), in [-1, 1) and in FFT order; horizontal frequencies
        (1, W // 2 + 1), in [0, 1]. An odd axis does not have a bin at Nyquist.
    """
    height, width = _check_size('shape', shape)
    rows = torch.fft.fftfreq(height, d=0.5, device=device, dtype=dtype)
    columns = torch.fft.rfftfreq(width, d=0.5, device=device, dtype=dtype)
    return rows[:, None], columns[None, :]


def low_pass(
    shape: tuple[int, int],
    cutoff: float,
    kind: str = 'gaussian',
    device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return a low-pass filter over the half spectrum; it is 1 at the zero frequency.

    With r the elliptical radius of a bin, in fractions of Nyquist:

    * ``gaussian``: ``exp(-r^2 / (2 cutoff^2))``. The cutoff is one standard deviation, where the
      filter is 0.61.
    * ``ideal``: 1 where ``r <= cutoff``, else 0.
    * ``butterworth``: ``1 / (1 + (r / cutoff)^4)``, order 2. The filter is 0.5 at the cutoff.

    Args:
        shape: (H, W) of the map.
        cutoff: Radius, in (0, 1]; 1 is Nyquist along each axis.
        kind: ``'gaussian'``, ``'ideal'`` or ``'butterworth'``.

    Returns:
        (H, W // 2 + 1) real mask in [0, 1].

    Raises:
        UserError: ``cutoff`` or ``kind`` is invalid.
    """
    _check_low_pass(cutoff, kind)
    rows, columns = frequency_grid(shape, device)
    radius = (rows.square() + columns.square()).sqrt() / cutoff
    if kind == 'gaussian':
        mask = torch.exp(-0.5 * radius.square())
    elif kind == 'ideal':
        # The margin keeps a bin on the rim inside, however its radius is rounded.
        mask = radius <= 1 + 1e-9
    else:
        mask = 1 / (1 + radius.pow(2 * _BUTTERWORTH_ORDER))
    return mask.to(dtype)


def frequency_mask(
    shape: tuple[int, int],
    low: float,
    high: float,
    cutoff: float,
    kind: str = 'gaussian',
    device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the mask ``low * L + high * (1 - L)`` over the half spectrum, see :func:`low_pass`.

    The result is cached and shared between callers: do not write into it.

    Args:
        shape: (H, W) of the map.
        low: Gain of the low frequencies, >= 0.
        high: Gain of the high frequencies, >= 0; low and high cannot both be 0.
        cutoff: Radius of L, in (0, 1].
        kind: Shape of L.

    Returns:
        (H, W // 2 + 1) real mask.

    Raises:
        UserError: A parameter is out of range.
    """
    check_filter(low, high, cutoff, kind)
    shape = _check_size('shape', shape)
    return _cached_mask(
        shape, float(low), float(high), float(cutoff), kind, torch.device(device), dtype
    )


@lru_cache(maxsize=128)
def _cached_mask(
    shape: tuple[int, int],
    low: float,
    high: float,
    cutoff: float,
    kind: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    # A mask created during validation must not be an inference tensor in a later training step.
    with torch.inference_mode(False), torch.no_grad():
        passed = low_pass(shape, cutoff, kind, device, torch.float64)
        return (low * passed + high * (1 - passed)).to(dtype)


def frequency_filter(x: Tensor, mask: Tensor | None, size: tuple[int, int] | None = None) -> Tensor:
    """Multiply the spectrum of every (H, W) plane of ``x`` by ``mask``.

    With ``size``, the plane is resampled to that grid first, as by :func:`fourier_resize`, and the
    mask covers the new band. The backward pass is the adjoint map: it has the same cost, stores no
    intermediate tensors and can be differentiated again.

    Args:
        x: (..., H, W).
        mask: (h, w // 2 + 1), real and constant. (h, w) is ``size``, or (H, W) without it.
            ``None`` passes every frequency.
        size: (h, w) of the result; (H, W) by default.

    Returns:
        (..., h, w), in float64 if ``x`` is, else in float32, with or without autocast.

    Raises:
        UserError: ``x`` is not (..., H, W), or the mask does not fit the half spectrum, is complex
            or requires a gradient, which it would not get.
    """
    if x.ndim < 2 or x.is_complex():
        raise UserError(f'x={x.dtype} {tuple(x.shape)}: expected a real tensor (..., H, W)')
    source = (x.shape[-2], x.shape[-1])
    target = source if size is None else _check_size('size', size)
    x = x if x.dtype == torch.float64 else x.float()
    if mask is not None:
        expected = (target[0], target[1] // 2 + 1)
        if tuple(mask.shape) != expected:
            raise UserError(
                f'mask has shape {tuple(mask.shape)}: expected {expected}, the half spectrum of a '
                f'{target[0]}x{target[1]} map'
            )
        if mask.is_complex() or mask.requires_grad:
            raise UserError('mask: expected a real tensor that does not require a gradient')
    if source != target:
        x = _resample(x, target)
    return x if mask is None else _SpectralMap.apply(x, mask, False)


def fourier_resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample every (H, W) plane of ``x`` by cutting or zero-padding its spectrum.

    Each axis is treated as periodic. Amplitudes are kept: a constant keeps its value, and a cosine
    that both grids can represent stays the same cosine. An even axis has one Nyquist bin for both
    signs of the frequency. Enlarging splits it between the two; shrinking adds the two up. So
    up-then-down is the identity, and down-then-up keeps all that the smaller grid can represent.

    Args:
        x: (..., H, W).
        size: (h, w) of the result; each axis may grow, shrink or stay.

    Returns:
        (..., h, w), in float64 if ``x`` is, else in float32.
    """
    return frequency_filter(x, None, size)


def _resample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample (..., H, W) within its frequency band, with one matrix product per axis.

    For the sizes of feature maps this is faster than transforms. A channels-last map, such as
    SegFormer's, is read without a copy.
    """
    height, width = x.shape[-2:]
    rows = _resampling_matrix(size[0], height, x.device, x.dtype)
    columns = _resampling_matrix(size[1], width, x.device, x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        if x.ndim == 4 and x.stride(1) == 1 and x.is_contiguous(memory_format=torch.channels_last):
            samples, channels = x.shape[:2]
            y = rows @ x.permute(0, 2, 3, 1).reshape(samples, height, width * channels)
            # Whole rows: the transform of planes that follows gathers them at little cost.
            y = y.view(samples * size[0], width, channels).transpose(1, 2) @ columns.T
            return y.view(samples, size[0], channels, size[1]).transpose(1, 2)
        return rows @ (x @ columns.T)


@lru_cache(maxsize=128)
def _resampling_matrix(
    target: int, source: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the (target, source) matrix that cuts or zero-pads the spectrum of a vector."""
    with torch.inference_mode(False), torch.no_grad():
        narrow = min(source, target)
        spectrum = torch.fft.rfft(torch.eye(source, dtype=torch.float64), norm='forward')
        spectrum = spectrum[:, : narrow // 2 + 1]
        if source != target and narrow % 2 == 0:
            # The Nyquist bin stands for both signs: enlarging halves it, shrinking adds up.
            spectrum[:, -1] *= 0.5 if target > source else 2.0
        matrix = torch.fft.irfft(spectrum, n=target, norm='forward').T
        return matrix.to(device, dtype).contiguous()


class _SpectralMap(torch.autograd.Function):
    """Apply transform, mask and inverse transform; the backward pass applies the adjoint.

    The map is linear and its matrix is known, so the backward pass needs no saved tensor. Autograd
    of ``rfft2`` would run full complex transforms instead.
    """

    @staticmethod
    def forward(ctx, x: Tensor, mask: Tensor, adjoint: bool):
        ctx.mask, ctx.adjoint = mask, adjoint
        planes = x.reshape(-1, *x.shape[-2:])
        chunk = max(1, _CPU_CHUNK // math.prod(x.shape[-2:]))
        if x.device.type != 'cpu' or len(planes) <= chunk:
            out = _transform(planes, mask, adjoint)
        else:
            out = torch.empty_like(planes)
            for part, result in zip(planes.split(chunk), out.split(chunk), strict=True):
                result.copy_(_transform(part, mask, adjoint))
        return out.view(x.shape)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _SpectralMap.apply(grad, ctx.mask, not ctx.adjoint), None, None


def _transform(planes: Tensor, mask: Tensor, adjoint: bool) -> Tensor:
    """Apply the map, or its adjoint, to (planes, H, W)."""
    norm = 'backward' if adjoint else 'forward'
    spectrum = torch.fft.rfft2(planes, norm=norm).mul_(mask)
    return torch.fft.irfft2(spectrum, s=planes.shape[-2:], norm=norm)


def check_filter(low: float, high: float, cutoff: float, kind: str) -> None:
    """Raise :class:`UserError` unless :func:`frequency_mask` takes these parameters."""
    for name, value in (('low', low), ('high', high)):
        check_number(name, value, least=0)
    if low == 0 and high == 0:
        raise UserError('low=0, high=0: expected at least one > 0')
    _check_low_pass(cutoff, kind)


def _check_low_pass(cutoff: float, kind: str) -> None:
    check_number('cutoff', cutoff, above=0, most=1, hint=', a fraction of Nyquist')
    check_choice('filter', kind, FILTERS)


def _check_size(name: str, size: tuple[int, int]) -> tuple[int, int]:
    size = tuple(size)
    if len(size) != 2 or not all(is_integer(n, least=1) for n in size):
        raise UserError(f'{name}={size!r}: expected two positive integers (height, width)')
    return size
