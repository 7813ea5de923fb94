"""The teacher's graph between patches, reduced to its objects, as a target."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.affinities.node_weights import Side, node_weights
from mmkd.ops.graph import (
    adjacency,
    check_gamma,
    check_heads,
    graph_distance,
    head_shares,
    object_graph,
    spectral_matrix,
)
from mmkd.ops.nodes import check_nodes
from mmkd.ops.spectrum import check_energy
from mmkd.registry import MODELS


@MODELS.register_module()
class SpectralGraphLoss(nn.Module):
    """Ask for the graph between patches that the teacher draws, without its noise.

    Both sides become graphs ``S`` over one grid of nodes as in ``SpectrumLoss``, averaged over
    heads. Of the teacher's, ``S = U V U^T``, the fewest eigenpairs are kept whose squared
    eigenvalues make up ``energy`` of all; of those, large ones are amplified and small ones damped,

        ``phi(v) = v (|v| / mean |v|)^gamma``,

    brought back to the same sum of squares. The value is the mean over samples of the squared
    Frobenius distance between the student's graph and ``U phi(V) U^T``, both scaled to unit norm.
    It lies in [0, 4] and depends neither on the number of nodes nor on how sharp attention is
    overall. Equal inputs are at 0 only where nothing is cut or scaled (``energy=1, gamma=0``): else
    the target is another graph than the teacher's.

    Computed in float32, or in float64 where an input is, whatever the autocast type. The
    teacher's side is detached.

    After Kim et al., "Distilling Spectral Graph for Object-Context Aware Open-Vocabulary Semantic
    Segmentation", CVPR 2025, section 3.2 (https://arxiv.org/abs/2411.17150). What differs: there
    the reduced graph replaces attention in a network that has some and is not trained; here it is
    the target of a student that has none, and ``phi`` is a power that keeps the energy.

    Args:
        affinity: A registered graph builder, for sides that are features.
        energy: Share of the squared eigenvalues to keep, in (0, 1]; 1 keeps every eigenpair.
        gamma: Exponent of ``phi``, >= 0; 0 leaves the eigenvalues as they are.
        heads: Which of the teacher's heads count, as in ``SpectrumLoss``.
        rank: Leading eigenvalues by which ``heads='select'`` chooses, >= 1.
        nodes: (height, width) of the grid of nodes, as in ``SpectrumLoss``.

    Raises:
        UserError: A parameter is outside what is allowed.
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
        self.affinity = MODELS.build(
            dict(affinity or dict(type='SimilarityAffinity'), _scope_='mmkd')
        )
        self.energy = energy
        self.gamma = gamma
        self.heads = heads
        self.rank = rank
        self.nodes = nodes

    def forward(self, student: Side, teacher: Side) -> Tensor:
        """Return the 0-dim loss.

        Args:
            student: A feature (B, C, H, W), or the attention or scan of a block.
            teacher: The same, of other channels, heads and size if need be.

        Raises:
            UserError: A side is neither, or the two do not fit each other.
        """
        student, teacher = self.graphs(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            return graph_distance(student, object_graph(teacher, self.energy, self.gamma))

    def graphs(self, student: Side, teacher: Side) -> tuple[Tensor, Tensor]:
        """The student's graph and that of the teacher's heads that count, (B, n, n) each."""
        student, teacher, gram = node_weights(
            'SpectralGraphLoss', self.affinity, student, teacher, self.nodes
        )
        with torch.autocast(student.device.type, enabled=False):
            shares = head_shares(spectral_matrix(teacher, gram=gram), self.heads, self.rank)
            teacher = (adjacency(teacher, gram) * shares[..., None, None]).sum(1)
            return adjacency(student, gram).mean(1), teacher

    def extra_repr(self) -> str:
        return (
            f'energy={self.energy}, gamma={self.gamma}, heads={self.heads!r}, rank={self.rank}, '
            f'nodes={self.nodes}'
        )
