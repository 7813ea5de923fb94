"""The two sides of a term as weights between the nodes of one grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.attention_taps import Attention
from mmkd.errors import UserError
from mmkd.ops.nodes import node_grid


def node_weights(
    owner: str,
    affinity: nn.Module,
    student: Tensor | Attention,
    teacher: Tensor | Attention,
    nodes: tuple[int, int] | None,
) -> tuple[Tensor, Tensor, bool]:
    """Bring both sides to one grid of nodes.

    Attention is a graph already; a feature becomes one by ``affinity``.

    Args:
        owner: Name of the loss, for messages.
        affinity: Called as ``affinity(feature, nodes)``, gives weights (B, heads, n, n).
        student: A feature (B, C, H, W), or the attention of a block.
        teacher: The same, of as many samples.
        nodes: (h, w) of the grid; None takes what :func:`mmkd.ops.nodes.node_grid` makes of the
            two sides' own.

    Returns:
        Weights (B, heads, n, M) of each side, float64 where a side is and float32 otherwise, the
        teacher's detached; and whether a side's keys are not the nodes, so that the graphs of both
        must be made of what nodes draw from in common (``gram``).

    Raises:
        UserError: A side is neither feature nor attention, batches differ, or no grid is known.
    """
    sides = dict(student=student, teacher=teacher)
    for name, side in sides.items():
        if not isinstance(side, Tensor | Attention) or (
            isinstance(side, Tensor) and side.ndim != 4
        ):
            shape = tuple(side.shape) if isinstance(side, Tensor) else type(side).__name__
            raise UserError(f'{owner} takes a feature (B, C, H, W) or an attention, got {shape} '
                            f'from {name}')  # fmt: skip
    tensors = [x.query if isinstance(x, Attention) else x for x in (student, teacher)]
    if len(tensors[0]) != len(tensors[1]):
        raise UserError(
            f'{owner} needs one batch size on both sides, got {len(tensors[0])} and '
            f'{len(tensors[1])}'
        )
    if nodes is None:
        grids = [grid for grid in map(_grid, (student, teacher)) if grid is not None]
        if not grids:
            raise UserError(f'{owner}: neither side says how its patches lie; set nodes=(h, w)')
        nodes = node_grid(*grids)
    wide = torch.promote_types(*(t.dtype for t in tensors))
    wide = torch.promote_types(wide, torch.float32)
    with torch.autocast(tensors[0].device.type, enabled=False):
        weights = [
            x.on_nodes(nodes).to(wide) if isinstance(x, Attention) else affinity(x.to(wide), nodes)
            for x in (student, teacher.detach())
        ]
    gram = any(isinstance(x, Attention) and x.is_reduced for x in sides.values())
    return weights[0], weights[1].detach(), gram


def _grid(side: Tensor | Attention) -> tuple[int, int] | None:
    return side.grid if isinstance(side, Attention) else tuple(side.shape[2:])
