"""The attention that a selective scan computes without storing it.

Ali, Zimerman & Wolf, "The Hidden Attention of Mamba Models", 2024, section 3
(https://arxiv.org/abs/2403.01590). A scan (see :mod:`mmkd.ops.selective_scan`) is linear in its
input, ``y_i = sum_j W_ij u_j + D u_i``. Position ``i`` attends to ``j <= i`` with the weight

    W_ij = C_i . (prod_{k=j+1..i} exp(delta_k A)) delta_j B_j .

Shapes: see :mod:`mmkd.ops`. VMamba has four groups, the paths of :mod:`mmkd.ops.cross_scan`.
"""

# ruff: noqa: N803, N806  (A, B and C are the papers' names)
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def hidden_attention(step: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return the attention of a scan, averaged over the channels of each group.

    The decay from ``j`` to ``i`` is the product of a decay up to any position in between and the
    decay from there on. All pairs on either side of the middle of an interval share that position,
    so their block is one matrix product over channels. The two halves are computed recursively.
    Decays are at most 1 and nothing is divided, so nothing overflows. Of ``K S L^2`` exponentials
    only ``K S L log2(L)`` are needed.

    Args:
        step: Step sizes after bias and softplus, (B, K, L), >= 0, float32 or float64.
        A: Rates, (K, S), negative.
        B: Input weights, (B, G, S, L), where G divides K.
        C: Output weights, (B, G, S, L).

    Returns:
        (B, G, L, L), 0 above the diagonal.
    """
    length, groups = step.shape[-1], B.shape[1]
    filled = 1 << (length - 1).bit_length()
    step, B, C = (functional.pad(x, (0, filled - length)) for x in (step, B, C))
    step = step.unflatten(1, (groups, -1)).permute(0, 1, 3, 2)  # (B, G, L, c)
    B, C = (x.transpose(2, 3) for x in (B, C))  # (B, G, L, S)
    A = A.view(groups, 1, 1, -1, A.shape[-1])
    # Intervals that grow from single positions, (B, G, intervals, positions, positions).
    pieces = ((C * B).sum(-1) * step.mean(-1))[..., None, None]
    half = 1
    while half < filled:
        (j, i), (_, c_i), (b_j, _) = (
            x.unflatten(2, (-1, 2, half)).unbind(3) for x in (step, C, B)
        )  # the first and the second half of each pair of intervals
        to_the_middle = j.flip(3).cumsum(3).flip(3) - j
        draw = (i.cumsum(3)[..., None] * A).exp() * c_i[..., None, :]
        give = (to_the_middle[..., None] * A).exp() * (j[..., None] * b_j[..., None, :])
        block = draw.flatten(-2) @ give.flatten(-2).mT / j.shape[-1]
        first, second = pieces[:, :, 0::2], pieces[:, :, 1::2]
        above = torch.cat([first, torch.zeros_like(block)], -1)
        pieces = torch.cat([above, torch.cat([block, second], -1)], -2)
        half *= 2
    return pieces[:, :, 0, :length, :length]


def merge_attention(paths: Tensor, height: int, width: int) -> Tensor:
    """Bring attention along the four paths to raster order and add it up.

    It matches :func:`mmkd.ops.cross_scan.cross_merge`: ``merge(W) x`` is
    ``cross_merge(W cross_scan(x))``.

    Args:
        paths: (B, 4, ..., L, L).
        height: H.
        width: W.

    Returns:
        (B, ..., L, L).
    """
    both = paths[:, :2] + paths[:, 2:].flip(-2, -1)
    by_columns = both[:, 1].unflatten(-1, (width, height)).unflatten(-3, (width, height))
    return both[:, 0] + by_columns.transpose(-4, -3).transpose(-2, -1).flatten(-4, -3).flatten(-2)


def path_images(paths: Tensor, height: int, width: int) -> Tensor:
    """Put the values along each of the four paths back into an image.

    Args:
        paths: (B, 4, C, L).
        height: H.
        width: W.

    Returns:
        (B, 4, C, H, W).
    """
    onward = torch.cat([paths[:, :2], paths[:, 2:].flip(-1)], 1)
    by_rows = onward[:, 0::2].unflatten(-1, (height, width))
    by_columns = onward[:, 1::2].unflatten(-1, (width, height)).transpose(-2, -1)
    return torch.stack([by_rows, by_columns], 2).flatten(1, 2)


def image_paths(images: Tensor) -> Tensor:
    """Invert :func:`path_images`: (B, 4, C, H, W) to (B, 4, C, L)."""
    by_rows, by_columns = images[:, 0::2].flatten(-2), images[:, 1::2].transpose(-2, -1).flatten(-2)
    onward = torch.stack([by_rows, by_columns], 2).flatten(1, 2)
    return torch.cat([onward[:, :2], onward[:, 2:].flip(-1)], 1)
