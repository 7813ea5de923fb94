"""The teacher's graph between patches, reduced to its leading eigenpairs, as a target."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.losses.affinities.node_affinities import Side, build_affinity, node_affinities
from mmkd.ops.graph import (
    adjacency,
    check_gamma,
    check_heads,
    gram_graph,
    graph_distance,
    head_weights,
    low_rank_target,
    spectral_matrix,
)
from mmkd.ops.nodes import check_nodes
from mmkd.ops.spectrum import check_energy
from mmkd.registry import MODELS


@MODELS.register_module()
class SpectralGraphLoss(nn.Module):
    """Train the student's graph between patches to match a low-rank version of the teacher's.

    Both sides become graphs ``S`` over one grid of nodes as in ``SpectrumLoss``, averaged over
    heads. Of the teacher's ``S = U V U^T``, the fewest eigenpairs are kept whose squared
    eigenvalues add up to the share ``energy``. Then large eigenvalues grow and small ones shrink,

        ``phi(v) = v (|v| / mean |v|)^gamma``,

    rescaled to the same sum of squares. The value is the squared Frobenius distance between the
    student's graph and ``U phi(V) U^T``, both scaled to unit norm, averaged over samples. It lies
    in [0, 4] and does not depend on the number of nodes. Equal inputs give 0 only with ``energy=1,
    gamma=0``: otherwise the target differs from the teacher's graph.

    After Kim et al., "Distilling Spectral Graph for Object-Context Aware Open-Vocabulary Semantic
    Segmentation", CVPR 2025, section 3.2 (https://arxiv.org/abs/2411.17150). What differs: there
    the reduced graph replaces the attention of a network that is not trained. Here it is the target
    of a student without attention, and ``phi`` is a power that keeps the energy.

    Args:
        affinity: Config of a registered graph builder, for sides that are features.
        energy: Share of the squared eigenvalues to keep, in (0, 1]; 1 keeps every eigenpair.
        gamma: Exponent of ``phi``, >= 0; 0 leaves the eigenvalues unchanged.
        heads: Which of the teacher's heads count, as in ``SpectrumLoss``.
        rank: Number of leading eigenvalues by which ``heads='select'`` chooses, >= 1.
        nodes: (height, width) of the grid of nodes, as in ``SpectrumLoss``.

    Raises:
        UserError: A parameter is out of range.
    """

    def __init__(
        self,
        affinity: dict | None = None,
        energy: float = 0.95,
        gamma: float = 0.5,
        heads: str = 'mean',
        rank: int = 4,
        nodes: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        check_energy(energy)
        check_gamma(gamma)
        check_heads(heads, rank)
        check_nodes(nodes)
        self.affinity = build_affinity(affinity)
        self.energy = energy
        self.gamma = gamma
        self.heads = heads
        self.rank = rank
        self.nodes = nodes

    def forward(self, student: Side, teacher: Side) -> Tensor:
        """Return the 0-dim loss.

        Args:
            student: A feature (B, C, H, W), or the attention or scan of a block.
            teacher: Likewise; channels, heads and size may differ.

        Raises:
            UserError: A side is neither, or the two do not fit each other.
        """
        student, teacher = self.graphs(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            return graph_distance(student, low_rank_target(teacher, self.energy, self.gamma))

    def graphs(self, student: Side, teacher: Side) -> tuple[Tensor, Tensor]:
        """Return the graphs of the student and of the teacher's chosen heads, (B, n, n) each."""
        student, teacher, gram = node_affinities(
            'SpectralGraphLoss', self.affinity, student, teacher, self.nodes
        )
        with torch.autocast(student.device.type, enabled=False):
            shares = head_weights(spectral_matrix(teacher, gram=gram), self.heads, self.rank)
            to_graph = gram_graph if gram else adjacency
            teacher = (to_graph(teacher) * shares[..., None, None]).sum(1)
            return to_graph(student).mean(1), teacher

    def extra_repr(self) -> str:
        return (
            f'energy={self.energy}, gamma={self.gamma}, heads={self.heads!r}, rank={self.rank}, '
            f'nodes={self.nodes}'
        )
