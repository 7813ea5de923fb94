"""The two sides of a term as weights between the nodes of one grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.affinities.mamba_state_affinity import MambaStateAffinity
from mmkd.attention_taps import Attention
from mmkd.errors import UserError
from mmkd.ops.nodes import node_grid
from mmkd.scan_taps import ScanInputs

Side = Tensor | Attention | ScanInputs


def node_weights(
    owner: str,
    affinity: nn.Module,
    student: Side,
    teacher: Side,
    nodes: tuple[int, int] | None,
) -> tuple[Tensor, Tensor, bool]:
    """Bring both sides to one grid of nodes.

    Attention is a graph already; a feature, or VMamba's scan, becomes one by ``affinity``.

    Args:
        owner: Name of the loss, for messages.
        affinity: Called as ``affinity(feature, nodes)``, gives weights (B, heads, n, n).
        student: A feature (B, C, H, W), or the attention or scan of a block.
        teacher: The same, of as many samples.
        nodes: (h, w) of the grid; None takes that of :func:`common_nodes`.

    Returns:
        Weights (B, heads, n, M) of each side, float64 where a side is and float32 otherwise, the
        teacher's detached; and whether a side's keys are not the nodes, so that the graphs of both
        must be made of what nodes draw from in common (``gram``).

    Raises:
        UserError: A side is neither feature nor attention, batches differ, or no grid is known.
    """
    nodes = common_nodes(owner, student, teacher, nodes)
    for name, side in dict(student=student, teacher=teacher).items():
        if isinstance(side, ScanInputs) and not isinstance(affinity, MambaStateAffinity):
            raise UserError(
                f'{owner}: {name} is a scan, which affinity={type(affinity).__name__} cannot '
                'read; allowed: MambaStateAffinity'
            )
    tensors = [_tensor(x) for x in (student, teacher)]
    wide = torch.promote_types(*(t.dtype for t in tensors))
    wide = torch.promote_types(wide, torch.float32)
    with torch.autocast(tensors[0].device.type, enabled=False):
        weights = [
            x.on_nodes(nodes).to(wide) if isinstance(x, Attention) else affinity(x.to(wide), nodes)
            for x in (student, teacher.detach())
        ]
    gram = any(isinstance(x, Attention) and x.is_reduced for x in (student, teacher))
    return weights[0], weights[1].detach(), gram


def common_nodes(
    owner: str,
    student: Side,
    teacher: Side,
    nodes: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """The grid on which :func:`node_weights`, of the same arguments, compares two sides.

    It is ``nodes``, or what :func:`mmkd.ops.nodes.node_grid` makes of the two sides' own.

    Raises:
        UserError: A side is neither feature nor attention, batches differ, or no grid is known.
    """
    sides = dict(student=student, teacher=teacher)
    for name, side in sides.items():
        if not isinstance(side, Side) or (isinstance(side, Tensor) and side.ndim != 4):
            shape = tuple(side.shape) if isinstance(side, Tensor) else type(side).__name__
            raise UserError(f'{owner} takes a feature (B, C, H, W) or an attention, got {shape} '
                            f'from {name}')  # fmt: skip
    batches = [len(_tensor(x)) for x in (student, teacher)]
    if batches[0] != batches[1]:
        raise UserError(
            f'{owner} needs one batch size on both sides, got {batches[0]} and {batches[1]}'
        )
    if nodes is not None:
        return nodes
    grids = [grid for grid in map(_grid, (student, teacher)) if grid is not None]
    if not grids:
        raise UserError(f'{owner}: neither side says how its patches lie; set nodes=(h, w)')
    return node_grid(*grids)


def _grid(side: Side) -> tuple[int, int] | None:
    return tuple(side.shape[2:]) if isinstance(side, Tensor) else side.grid


def _tensor(side: Side) -> Tensor:
    """A tensor that has the side's batch, type and device."""
    if isinstance(side, Attention):
        return side.query
    return side.delta if isinstance(side, ScanInputs) else side
