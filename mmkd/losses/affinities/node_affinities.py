"""Affinities of both sides of a term between the nodes of one grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.losses.affinities.mamba_state_affinity import MambaStateAffinity
from mmkd.ops.attention_readings import Attention, AttentionReading, ScanInputs
from mmkd.ops.nodes import node_grid
from mmkd.registry import MODELS

Side = Tensor | AttentionReading


def build_affinity(config: dict | None) -> nn.Module:
    """Build the module that turns a feature into a graph; ``SimilarityAffinity`` by default."""
    return MODELS.build(dict(config or dict(type='SimilarityAffinity'), _scope_='mmkd'))


def node_affinities(
    owner: str,
    affinity: nn.Module,
    student: Side,
    teacher: Side,
    nodes: tuple[int, int] | None,
) -> tuple[Tensor, Tensor, bool]:
    """Bring both sides to one grid of nodes.

    Attention is already a graph; ``affinity`` turns a feature, or VMamba's scan, into one.

    Args:
        owner: Name of the loss, for error messages.
        affinity: Called as ``affinity(feature, nodes)``, returns affinities (B, heads, n, n).
        student: A feature (B, C, H, W), or the attention or scan of a block.
        teacher: Likewise, with the same batch size.
        nodes: (h, w) of the grid; None takes that of :func:`common_nodes`.

    Returns:
        Affinities (B, heads, n, M) of each side, in float64 if a side is, else in float32, the
        teacher's detached. And whether the keys of a side are not the nodes: then both graphs must
        be :func:`mmkd.ops.graph.gram_graph`.

    Raises:
        UserError: A side is neither feature nor attention, batches differ, or the grid is unknown.
    """
    nodes = common_nodes(owner, student, teacher, nodes)
    for name, side in dict(student=student, teacher=teacher).items():
        if isinstance(side, ScanInputs) and not isinstance(affinity, MambaStateAffinity):
            raise UserError(
                f'{owner}: affinity={type(affinity).__name__}: expected MambaStateAffinity, '
                f'because {name} is a scan'
            )
    tensors = [_tensor(x) for x in (student, teacher)]
    wide = torch.promote_types(*(t.dtype for t in tensors))
    wide = torch.promote_types(wide, torch.float32)
    with torch.autocast(tensors[0].device.type, enabled=False):
        affinities = [
            x.on_nodes(nodes).to(wide) if isinstance(x, Attention) else affinity(x.to(wide), nodes)
            for x in (student, teacher.detach())
        ]
    gram = any(isinstance(x, AttentionReading) and x.is_reduced for x in (student, teacher))
    return affinities[0], affinities[1].detach(), gram


def common_nodes(
    owner: str,
    student: Side,
    teacher: Side,
    nodes: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """Return the grid on which :func:`node_affinities` compares two sides.

    It is ``nodes``, or :func:`mmkd.ops.nodes.node_grid` of the grids of both sides.

    Raises:
        UserError: A side is neither feature nor attention, batches differ, or the grid is unknown.
    """
    sides = dict(student=student, teacher=teacher)
    for name, side in sides.items():
        if not isinstance(side, Side) or (isinstance(side, Tensor) and side.ndim != 4):
            shape = tuple(side.shape) if isinstance(side, Tensor) else type(side).__name__
            raise UserError(
                f'{owner}: {name} is {shape}: expected a feature (B, C, H, W) or an attention'
            )
    batches = [len(_tensor(x)) for x in (student, teacher)]
    if batches[0] != batches[1]:
        raise UserError(
            f'{owner}: batches of {batches[0]} and {batches[1]}: expected one batch size'
        )
    if nodes is not None:
        return nodes
    grids = [grid for grid in map(_grid, (student, teacher)) if grid is not None]
    if not grids:
        raise UserError(f'{owner}: nodes=None: expected (h, w), because no side gives its grid')
    return node_grid(*grids)


def _grid(side: Side) -> tuple[int, int] | None:
    return tuple(side.shape[2:]) if isinstance(side, Tensor) else side.grid


def _tensor(side: Side) -> Tensor:
    return side.tensor if isinstance(side, AttentionReading) else side
