"""The four paths along which VMamba scans an image, and the way back.

Liu et al., "VMamba: Visual State Space Model", NeurIPS 2024, section 4.3
(https://arxiv.org/abs/2401.10166). Path 0 goes row by row, path 1 column by column. Paths 2 and 3
are these two in reverse.

Shapes: see :mod:`mmkd.ops`; ``L = H * W``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cross_scan(x: Tensor) -> Tensor:
    """Unroll an image along the four paths.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, 4, C, L), contiguous.
    """
    by_rows, by_columns = x.flatten(2), x.transpose(2, 3).flatten(2)
    return torch.stack([by_rows, by_columns, by_rows.flip(-1), by_columns.flip(-1)], dim=1)


def cross_merge(paths: Tensor, height: int, width: int) -> Tensor:
    """Put values along the four paths back into the image and add them up.

    This is the transpose of :func:`cross_scan`: ``cross_merge(cross_scan(x))`` is ``4 x``.

    Args:
        paths: (B, 4, C, L).
        height: H.
        width: W.

    Returns:
        (B, C, H, W).
    """
    both = paths[:, :2] + paths[:, 2:].flip(-1)
    by_columns = both[:, 1].unflatten(-1, (width, height))
    return both[:, 0].unflatten(-1, (height, width)) + by_columns.transpose(2, 3)
