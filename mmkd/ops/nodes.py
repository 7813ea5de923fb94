"""Bring features and attention to one grid of nodes, the image patches of a graph.

Shapes: see :mod:`mmkd.ops`.

Cells of two grids overlap in an area. Every function here is a sum weighted by these areas, so the
size of one grid need not divide the other. If a grid has more rows or columns than its source, each
source cell is divided among several target cells.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from mmkd.errors import UserError, is_integer

# Memory grows with the square of the number of nodes, and eigenvectors take cubic time.
MAX_NODES = 1024


def node_grid(*grids: tuple[int, int]) -> tuple[int, int]:
    """Return the grid on which to compare maps of these sizes.

    It has the smallest height and the smallest width, shrunk evenly to at most ``MAX_NODES`` nodes.

    Args:
        grids: (H, W) of each map.

    Returns:
        (h, w), both at least 1.
    """
    height, width = (min(sizes) for sizes in zip(*grids, strict=True))
    shrink = (MAX_NODES / max(height * width, MAX_NODES)) ** 0.5
    height = min(max(1, int(height * shrink)), MAX_NODES)
    return height, min(max(1, int(width * shrink)), MAX_NODES // height)


def check_nodes(nodes: tuple[int, int] | None) -> None:
    """Raise :class:`UserError` unless ``nodes`` is None or a grid of at most ``MAX_NODES``."""
    if nodes is None:
        return
    if (
        not isinstance(nodes, tuple | list)
        or len(nodes) != 2
        or not all(is_integer(n, least=1) for n in nodes)
        or nodes[0] * nodes[1] > MAX_NODES
    ):
        raise UserError(
            f'nodes={nodes!r}: expected (height, width) with at most {MAX_NODES} nodes in all'
        )


def pool_features(x: Tensor, nodes: tuple[int, int]) -> Tensor:
    """Return the mean of a feature over the area of each node.

    Args:
        x: (..., H, W), float32 or float64.
        nodes: (h, w).

    Returns:
        (..., h, w).
    """
    if tuple(x.shape[-2:]) == tuple(nodes):
        return x
    rows = _shares(x.shape[-2], nodes[0], x.device, x.dtype)
    columns = _shares(x.shape[-1], nodes[1], x.device, x.dtype)
    return rows @ x @ columns.T


def pool_queries(x: Tensor, grid: tuple[int, int], nodes: tuple[int, int]) -> Tensor:
    """Return the mean over each node of what its tokens hold: attention rows, or vectors.

    Args:
        x: (..., N, D), the tokens of ``grid`` in raster order.
        grid: (H, W) of the tokens.
        nodes: (h, w).

    Returns:
        (..., n, D). Rows that sum to 1 give rows that sum to 1.
    """
    if tuple(grid) == tuple(nodes):
        return x
    return pool_features(x.mT.unflatten(-1, tuple(grid)), nodes).flatten(-2).mT


def pool_keys(affinity: Tensor, grid: tuple[int, int], nodes: tuple[int, int]) -> Tensor:
    """Add up attention by node instead of by key; a key is divided among the nodes it overlaps.

    Args:
        affinity: (..., N, M); the keys are the tokens of ``grid`` in raster order.
        grid: (H, W) of the keys.
        nodes: (h, w).

    Returns:
        (..., N, n); every row keeps its sum.
    """
    if tuple(grid) == tuple(nodes):
        return affinity
    rows = _shares(nodes[0], grid[0], affinity.device, affinity.dtype).T
    columns = _shares(nodes[1], grid[1], affinity.device, affinity.dtype)
    return (rows @ affinity.unflatten(-1, tuple(grid)) @ columns).flatten(-2)


@lru_cache(maxsize=256)
def _shares(source: int, target: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return (target, source): the share of each target cell that a source cell covers."""
    with torch.inference_mode(False), torch.no_grad():
        # In units of 1 / (source * target) of the axis, the edges of both grids are integers.
        left = torch.arange(target)[:, None] * source
        start = torch.arange(source) * target
        shared = torch.minimum(left + source, start + target) - torch.maximum(left, start)
        # Divided in float64: integers give PyTorch's default type, which can be a narrow one.
        return (shared.clamp(min=0).double() / source).to(device, dtype)
