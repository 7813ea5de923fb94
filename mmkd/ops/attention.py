"""Activation-based attention maps and the distances between them.

Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.1
(https://arxiv.org/abs/1612.03928). A layer "looks" where several of its channels respond together.
The map has no channels, so you can compare two networks with different channel counts.

Shapes: see :mod:`mmkd.ops`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmkd.errors import UserError, check_choice, check_number

MAPPINGS = ('sum', 'max')
DISTANCES = ('l2_batch', 'l2', 'mse')


@dataclass(frozen=True)
class TeacherMap:
    """A teacher's attention map (B, h, w), kept from an earlier pass, in place of its feature."""

    tensor: Tensor

    def detach(self) -> TeacherMap:
        """Return the map itself, which does not have a gradient."""
        return self


def attention_map(x: Tensor, mapping: str = 'sum', p: float = 2) -> Tensor:
    """Collapse the channels of a feature into one non-negative map.

    ``sum``: ``Q = sum_c |F_c|^p``; ``max``: ``Q = max_c |F_c|^p``. A larger ``p`` gives more weight
    to the strongest channels. With ``p=2`` or ``max`` no second tensor of the feature's size is
    made, and autograd stores only ``x``.

    Args:
        x: (B, C, H, W).
        mapping: ``'sum'`` or ``'max'``.
        p: Exponent, >= 1.

    Returns:
        (B, H, W), in the dtype of ``x``. Its gradient is finite everywhere, and zero at zero.

    Raises:
        UserError: ``x`` is not (B, C, H, W), or a parameter is out of range.
    """
    check_mapping(mapping, p)
    if x.ndim != 4:
        raise UserError(f'attention_map: x has shape {tuple(x.shape)}: expected (B, C, H, W)')
    if mapping == 'max':
        return torch.maximum(x.amax(dim=1), -x.amin(dim=1)).pow(p)
    if p == 1:
        return x.abs().sum(dim=1)
    if p == 2:
        return _SumOfSquares.apply(x)
    # An even power needs no absolute value, so autograd stores only x.
    return (x if p % 2 == 0 else x.abs()).pow(p).sum(dim=1)


class _SumOfSquares(torch.autograd.Function):
    """Compute ``sum_c x_c^2`` in one pass; plain autograd would store the squared feature."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.linalg.vector_norm(x, dim=1).square_()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x * (2 * grad)[:, None]


def normalise_map(q: Tensor, eps: float = 1e-8, min_norm: Tensor | None = None) -> Tensor:
    """Scale every map to unit length: ``A = Q / (||Q||_2 + eps)``, with the norm over H and W.

    Args:
        q: (B, H, W).
        eps: Added to the norm, > 0. An all-zero map stays zero, with a finite gradient.
        min_norm: Lower bound on each map's norm, (B,).

    Returns:
        (B, H, W). Each map has a norm just below 1, or less where ``min_norm`` applies.
    """
    # A map is already a power of a feature, so its square can overflow float32. Dividing by the
    # peak first avoids this. The peak cancels out of the norm and its gradient, so it is detached.
    peak = q.detach().abs().amax(dim=(1, 2), keepdim=True)
    peak = torch.where(peak > 0, peak, 1)
    norm = peak * torch.linalg.vector_norm(q / peak, dim=(1, 2), keepdim=True)
    if min_norm is not None:
        norm = torch.maximum(norm, min_norm[:, None, None])
    return q / (norm + eps)


def map_distance(a: Tensor, b: Tensor, distance: str = 'l2_batch') -> Tensor:
    """Return the distance between two batches of maps; 0, with gradient 0, where they are equal.

    * ``l2_batch``: ``||a - b||_2`` over the whole tensor, divided by B.
    * ``l2``: ``||a_i - b_i||_2`` of each sample, averaged over samples.
    * ``mse``: mean of the squared differences.

    Args:
        a: (B, H, W).
        b: (B, H, W).
        distance: ``'l2_batch'``, ``'l2'`` or ``'mse'``.

    Returns:
        0-dim tensor.

    Raises:
        UserError: The shapes differ, or ``distance`` is unknown.
    """
    check_distance(distance)
    if a.shape != b.shape or a.ndim != 3:
        raise UserError(
            f'map_distance: a has shape {tuple(a.shape)}, b {tuple(b.shape)}: expected two '
            '(B, H, W) of one shape'
        )
    difference = a - b
    if distance == 'mse':
        return difference.square().mean()
    # vector_norm has gradient 0 at 0; the square root of a sum does not.
    if distance == 'l2':
        return torch.linalg.vector_norm(difference, dim=(1, 2)).mean()
    return torch.linalg.vector_norm(difference) / len(difference)


def check_mapping(mapping: str, p: float) -> None:
    """Raise :class:`UserError` unless :func:`attention_map` takes these parameters."""
    check_choice('mapping', mapping, MAPPINGS)
    check_number('p', p, least=1)


def check_distance(distance: str) -> None:
    """Raise :class:`UserError` unless :func:`map_distance` knows ``distance``."""
    check_choice('distance', distance, DISTANCES)
