"""The eigenvalues of the graph that a network draws between the patches of an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.affinities.node_weights import Side, node_weights
from mmkd.errors import UserError
from mmkd.ops.graph import (
    check_graph,
    check_heads,
    head_shares,
    leading_spectrum,
    spectral_matrix,
)
from mmkd.ops.nodes import check_nodes
from mmkd.ops.spectrum import check_count
from mmkd.registry import MODELS

_DISTANCES = ('l2', 'wasserstein')


@MODELS.register_module()
class SpectrumLoss(nn.Module):
    """Ask for a graph between patches that falls into parts as the teacher's does.

    The spectrum of a graph says how many groups of nodes it has and how tightly they hold
    together, and not which nodes those are: renumbering the nodes leaves it as it is. It is the
    mildest of demands on a student.

    Both sides are brought to one grid of nodes. An attention tap is a graph already, one a head;
    a feature becomes one by ``affinity``. With weights ``W`` the graph is ``S = (W + W^T) / 2``,
    or, for both sides, ``S = W W^T / tr`` where attention has fewer keys than queries (spatial
    reduction). The value is the mean over samples of the distance between the ``k`` leading
    eigenvalues,

    * ``graph='adjacency'``: the largest of ``S``, or
    * ``graph='laplacian'``: the smallest of ``I - D^-1/2 S D^-1/2``, ``D`` the row sums of ``S``,

    taken in order: ``l2`` is the norm of the difference, ``wasserstein`` the mean of its absolute
    values, which is the Wasserstein-1 distance of the two sets. Eigenvalues are averaged over the
    heads of a side. There is no gradient through eigenvectors; repeated eigenvalues do no harm.

    Computed in float32, or in float64 where an input is, whatever the autocast type. The
    teacher's side is detached.

    After Kim et al., "Distilling Spectral Graph for Object-Context Aware Open-Vocabulary Semantic
    Segmentation", CVPR 2025, section 3.2 (https://arxiv.org/abs/2411.17150), who compare heads by
    their eigenvalues; here a student is trained on them.

    Args:
        affinity: A registered graph builder, for sides that are features.
        graph: ``'adjacency'`` or ``'laplacian'``.
        heads: Which of the teacher's heads count: ``'mean'`` all of them, ``'select'`` those whose
            ``rank`` leading eigenvalues hold a share of the energy that is no less than the mean
            share of all heads.
        k: Leading eigenvalues to compare, >= 1; all where there are fewer nodes.
        rank: Leading eigenvalues by which ``'select'`` chooses, >= 1.
        distance: ``'l2'`` or ``'wasserstein'``.
        nodes: (height, width) of the grid of nodes, at most 1024 in all; by default the smaller of
            the two sides' heights and widths, shrunk evenly to at most 1024 nodes.

    Raises:
        UserError: A parameter is outside what is allowed.
    """

    def __init__(
        self,
        affinity: dict | None = None,
        graph: str = 'adjacency',
        heads: str = 'mean',
        k: int = 16,
        rank: int = 4,
        distance: str = 'l2',
        nodes: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        check_graph(graph)
        check_count(k)
        check_nodes(nodes)
        check_heads(heads, rank)
        if distance not in _DISTANCES:
            raise UserError(f'distance={distance!r} is not known; allowed: {", ".join(_DISTANCES)}')
        self.affinity = MODELS.build(
            dict(affinity or dict(type='SimilarityAffinity'), _scope_='mmkd')
        )
        self.graph = graph
        self.heads = heads
        self.k = k
        self.rank = rank
        self.distance = distance
        self.nodes = nodes

    def forward(self, student: Side, teacher: Side) -> Tensor:
        """Return the 0-dim loss.

        Args:
            student: A feature (B, C, H, W), or the attention or scan of a block.
            teacher: The same, of other channels, heads and size if need be.

        Raises:
            UserError: A side is neither, or the two do not fit each other.
        """
        student, teacher, gram = node_weights(
            'SpectrumLoss', self.affinity, student, teacher, self.nodes
        )
        with torch.autocast(student.device.type, enabled=False):
            difference = self._spectrum(student, 'mean', gram) - self._spectrum(
                teacher, self.heads, gram
            )
            if self.distance == 'wasserstein':
                return difference.abs().mean()
            return torch.linalg.vector_norm(difference, dim=-1).mean()

    def _spectrum(self, weights: Tensor, heads: str, gram: bool) -> Tensor:
        """Leading eigenvalues (B, k), averaged over heads."""
        matrix = spectral_matrix(weights, self.graph, gram)
        values = leading_spectrum(matrix, weights.shape[-2], self.k, self.graph)
        return (values * head_shares(matrix, heads, self.rank)[..., None]).sum(1)

    def extra_repr(self) -> str:
        return (
            f'graph={self.graph!r}, heads={self.heads!r}, k={self.k}, rank={self.rank}, '
            f'distance={self.distance!r}, nodes={self.nodes}'
        )
