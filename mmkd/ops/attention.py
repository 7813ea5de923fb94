"""Activation-based attention maps and the distances between them.

Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.1
(https://arxiv.org/abs/1612.03928). Where several units of a layer fire together the layer
"looks"; two networks can be compared on where they look whatever their channel counts.

Shapes: ``N`` samples, ``C`` channels, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd.errors import UserError

MAPPINGS = ('sum', 'max')
DISTANCES = ('l2_batch', 'l2', 'mse')


def attention_map(x: Tensor, mapping: str = 'sum', p: float = 2) -> Tensor:
    """Collapse the channels of a feature into one non-negative map.

    ``sum``: ``Q = sum_c |F_c|^p``; ``max``: ``Q = max_c |F_c|^p``. The larger ``p``, the more
    the strongest units weigh. ``p=2`` and ``max`` read the feature without making another of its
    size, and autograd keeps nothing but ``x``.

    Args:
        x: (N, C, H, W).
        mapping: ``'sum'`` or ``'max'``.
        p: Exponent, >= 1.

    Returns:
        (N, H, W), in the type of ``x``. Its gradient is finite everywhere, zero at zero.

    Raises:
        UserError: ``x`` is not (N, C, H, W), or a parameter is outside what is allowed.
    """
    check_mapping(mapping, p)
    if x.ndim != 4:
        raise UserError(f'attention_map takes (N, C, H, W), got shape {tuple(x.shape)}')
    if mapping == 'max':
        return torch.maximum(x.amax(dim=1), -x.amin(dim=1)).pow(p)
    if p == 1:
        return x.abs().sum(dim=1)
    if p == 2:
        return _SumOfSquares.apply(x)
    # An even power needs no absolute value, and then autograd keeps x alone.
    return (x if p % 2 == 0 else x.abs()).pow(p).sum(dim=1)


class _SumOfSquares(torch.autograd.Function):
    """``sum_c x_c^2`` in one pass: autograd's own would first square the whole feature."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.linalg.vector_norm(x, dim=1).square_()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x * (2 * grad)[:, None]


def normalise_map(q: Tensor, eps: float = 1e-8, least: Tensor | None = None) -> Tensor:
    """Scale every map to unit length: ``A = Q / (||Q||_2 + eps)``, the norm over H and W.

    Args:
        q: (N, H, W).
        eps: Added to the norm, > 0; an all-zero map stays zero and its gradient finite.
        least: What a norm counts as if it is less, (N,).

    Returns:
        (N, H, W) with every map's norm just below 1, or below that where ``least`` is more.
    """
    # Squares of a map that is itself a power overflow float32 long before the map does. The
    # divisor cancels out of the norm and of its gradient, hence the detach.
    peak = q.detach().abs().amax(dim=(1, 2), keepdim=True)
    peak = torch.where(peak > 0, peak, 1)
    norm = peak * torch.linalg.vector_norm(q / peak, dim=(1, 2), keepdim=True)
    if least is not None:
        norm = torch.maximum(norm, least[:, None, None])
    return q / (norm + eps)


def map_distance(a: Tensor, b: Tensor, distance: str = 'l2_batch') -> Tensor:
    """Distance between two batches of maps; exactly 0, with gradient 0, where they are equal.

    * ``l2_batch``: ``||a - b||_2`` over the whole tensor, divided by N.
    * ``l2``: mean over samples of each sample's ``||a_n - b_n||_2``.
    * ``mse``: mean of squares over all of it.

    Args:
        a: (N, H, W).
        b: (N, H, W).
        distance: ``'l2_batch'``, ``'l2'`` or ``'mse'``.

    Returns:
        0-dim tensor.

    Raises:
        UserError: The shapes differ or ``distance`` is not known.
    """
    check_distance(distance)
    if a.shape != b.shape or a.ndim != 3:
        raise UserError(
            f'map_distance takes two (N, H, W) of one shape, got {tuple(a.shape)} and '
            f'{tuple(b.shape)}'
        )
    difference = a - b
    if distance == 'mse':
        return difference.square().mean()
    # vector_norm, unlike sqrt of a sum, has the gradient 0 at 0.
    if distance == 'l2':
        return torch.linalg.vector_norm(difference, dim=(1, 2)).mean()
    return torch.linalg.vector_norm(difference) / len(difference)


def check_mapping(mapping: str, p: float) -> None:
    """Raise :class:`UserError` unless :func:`attention_map` takes these parameters."""
    if mapping not in MAPPINGS:
        raise UserError(f'mapping={mapping!r} is not known; allowed: {", ".join(MAPPINGS)}')
    if isinstance(p, bool) or not isinstance(p, int | float) or not 1 <= p < float('inf'):
        raise UserError(f'p={p!r} must be a number >= 1')


def check_distance(distance: str) -> None:
    """Raise :class:`UserError` unless :func:`map_distance` knows ``distance``."""
    if distance not in DISTANCES:
        raise UserError(f'distance={distance!r} is not known; allowed: {", ".join(DISTANCES)}')
