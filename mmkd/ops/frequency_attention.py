"""Attention maps of a chosen part of a feature's spectrum.

The maps are those of :mod:`mmkd.ops.attention`, the filters those of :mod:`mmkd.ops.fourier`.

Shapes: see :mod:`mmkd.ops`.
"""

from __future__ import annotations

import math

from torch import Tensor

from mmkd.ops.attention import attention_map, normalise_map
from mmkd.ops.fourier import frequency_filter

_MIN_DETAIL = 1e-3


def filter_then_attend(x: Tensor, mask: Tensor | None, size: tuple[int, int], p: float) -> Tensor:
    """Filter every channel of a feature, then return its unit attention map.

    Args:
        x: (B, C, H, W), float32 or float64.
        mask: (h, w // 2 + 1), see :func:`mmkd.ops.fourier.frequency_filter`; None filters nothing.
        size: (h, w) of the result.
        p: Exponent of the attention map, >= 1.

    Returns:
        (B, h, w), not negative.
    """
    return normalise_map(attention_map(frequency_filter(x, mask, size), p=p))


def attend_then_filter(x: Tensor, mask: Tensor | None, size: tuple[int, int], p: float) -> Tensor:
    """Return the filtered attention map of a feature, scaled to unit norm.

    Only one channel is filtered, so this costs far less than :func:`filter_then_attend`. The norm
    counts as at least 1/1000 of the norm of a constant map with the same mean. Without that bound,
    a high-pass would scale the rounding errors of a constant map to unit norm.

    Args:
        x: (B, C, H, W), float32 or float64.
        mask: (h, w // 2 + 1), see :func:`mmkd.ops.fourier.frequency_filter`; None filters nothing.
        size: (h, w) of the result.
        p: Exponent of the attention map, >= 1.

    Returns:
        (B, h, w); entries can be negative.
    """
    whole = attention_map(x, p=p)
    constant_norm = whole.detach().mean(dim=(1, 2)) * math.sqrt(math.prod(size))
    return normalise_map(frequency_filter(whole, mask, size), min_norm=_MIN_DETAIL * constant_norm)
