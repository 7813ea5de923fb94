"""The eigenvalues of a network's graph between the patches of an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import check_choice
from mmkd.losses.affinities.node_affinities import Side, build_affinity, node_affinities
from mmkd.ops.graph import (
    check_graph,
    check_heads,
    head_weights,
    leading_spectrum,
    spectral_matrix,
)
from mmkd.ops.nodes import check_nodes
from mmkd.ops.spectrum import check_count
from mmkd.registry import MODELS

_DISTANCES = ('l2', 'wasserstein')


@MODELS.register_module()
class SpectrumLoss(nn.Module):
    """Train the student's graph between patches to have the eigenvalues of the teacher's.

    The eigenvalues say how many groups of nodes a graph has and how tightly they are connected, but
    not which nodes they are: reordering the nodes changes nothing. This is a weak constraint.

    Both sides are brought to one grid of nodes. An attention tap is already a graph, one per head;
    ``affinity`` turns a feature into one. An affinity ``W`` gives the graph ``S = (W + W^T) / 2``.
    If an attention has fewer keys than queries (spatial reduction), both sides use
    ``S = W W^T / tr(W W^T)``. The value is the distance between the ``k`` leading eigenvalues,
    averaged over samples:

    * ``graph='adjacency'``: the largest of ``S``;
    * ``graph='laplacian'``: the smallest of ``I - D^-1/2 S D^-1/2``, with ``D`` the row sums of
      ``S``.

    They are compared in order. ``l2`` is the norm of the difference. ``wasserstein`` is the mean
    absolute difference, the Wasserstein-1 distance of the two sets. Eigenvalues are averaged over
    the heads of a side. No gradient passes through eigenvectors, so repeated eigenvalues are safe.

    After Kim et al., "Distilling Spectral Graph for Object-Context Aware Open-Vocabulary Semantic
    Segmentation", CVPR 2025, section 3.2 (https://arxiv.org/abs/2411.17150). They compare heads by
    their eigenvalues; this loss trains a student on them.

    Args:
        affinity: Config of a registered graph builder, for sides that are features.
        graph: ``'adjacency'`` or ``'laplacian'``.
        heads: Which of the teacher's heads count: ``'mean'`` for all, ``'select'`` for those with
            at least the average share of their energy in the ``rank`` leading eigenvalues.
        k: Number of leading eigenvalues to compare, >= 1; all if there are fewer nodes.
        rank: Number of leading eigenvalues by which ``'select'`` chooses, >= 1.
        distance: ``'l2'`` or ``'wasserstein'``.
        nodes: (height, width) of the grid of nodes, at most 1024 in all. The default is the smaller
            of the two sides' heights and widths, shrunk evenly to at most 1024 nodes.

    Raises:
        UserError: A parameter is out of range.
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
        check_choice('distance', distance, _DISTANCES)
        self.affinity = build_affinity(affinity)
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
            teacher: Likewise; channels, heads and size may differ.

        Raises:
            UserError: A side is neither, or the two do not fit each other.
        """
        student, teacher, gram = node_affinities(
            'SpectrumLoss', self.affinity, student, teacher, self.nodes
        )
        with torch.autocast(student.device.type, enabled=False):
            difference = self._spectrum(student, 'mean', gram) - self._spectrum(
                teacher, self.heads, gram
            )
            if self.distance == 'wasserstein':
                return difference.abs().mean()
            return torch.linalg.vector_norm(difference, dim=-1).mean()

    def _spectrum(self, affinity: Tensor, heads: str, gram: bool) -> Tensor:
        """Return the leading eigenvalues (B, k), averaged over heads."""
        matrix = spectral_matrix(affinity, self.graph, gram)
        values = leading_spectrum(matrix, affinity.shape[-2], self.k, self.graph)
        return (values * head_weights(matrix, heads, self.rank)[..., None]).sum(1)

    def extra_repr(self) -> str:
        return (
            f'graph={self.graph!r}, heads={self.heads!r}, k={self.k}, rank={self.rank}, '
            f'distance={self.distance!r}, nodes={self.nodes}'
        )
