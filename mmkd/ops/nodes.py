"""Image patches as the nodes of a graph: bringing features and attention to one grid.

Shapes: ``B`` samples, ``C`` channels, ``H`` rows and ``W`` columns of a map, ``N = H W`` and ``M``
tokens in raster order, ``n = h w`` nodes.

A cell of one grid and a cell of another share an area; everything here is a sum weighted by shared
areas, so no size has to divide another. Where a grid has more rows or columns than its source, a
cell of the source is shared out.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from mmkd.errors import UserError

# Graphs grow with the square of their nodes, eigenvectors with the cube.
MAX_NODES = 1024


def node_grid(*grids: tuple[int, int]) -> tuple[int, int]:
    """The grid on which maps of these sizes are compared.

    It is the smaller height and the smaller width, shrunk evenly to at most ``MAX_NODES`` nodes.

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
        or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in nodes)
        or nodes[0] * nodes[1] > MAX_NODES
    ):
        raise UserError(
            f'nodes={nodes!r}; allowed: (height, width) of at most {MAX_NODES} nodes in all'
        )


def pool_features(x: Tensor, nodes: tuple[int, int]) -> Tensor:
    """The mean of a feature over the area of each node.

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
    """The mean of what tokens hold over each node: a row of attention, or a token's vector.

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


def pool_keys(weights: Tensor, grid: tuple[int, int], nodes: tuple[int, int]) -> Tensor:
    """Attention per node instead of per key: each key's share goes to the nodes it lies in.

    Args:
        weights: (..., N, M), the keys being the tokens of ``grid`` in raster order.
        grid: (H, W) of the keys.
        nodes: (h, w).

    Returns:
        (..., N, n), every row with the sum that it had.
    """
    if tuple(grid) == tuple(nodes):
        return weights
    rows = _shares(nodes[0], grid[0], weights.device, weights.dtype).T
    columns = _shares(nodes[1], grid[1], weights.device, weights.dtype)
    return (rows @ weights.unflatten(-1, tuple(grid)) @ columns).flatten(-2)


@lru_cache(maxsize=256)
def _shares(source: int, target: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(target, source): how much of a target cell of one axis each source cell fills."""
    with torch.inference_mode(False), torch.no_grad():
        # In units of 1 / (source * target) of the axis, both grids' edges are whole numbers.
        left = torch.arange(target)[:, None] * source
        start = torch.arange(source) * target
        shared = torch.minimum(left + source, start + target) - torch.maximum(left, start)
        return (shared.clamp(min=0) / source).to(device, dtype)
