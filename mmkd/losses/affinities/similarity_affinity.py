"""Affinities from the similarity of features."""

from __future__ import annotations

from torch import Tensor, nn

from mmkd.ops.divergence import check_temperature
from mmkd.ops.graph import cosine_affinity
from mmkd.ops.nodes import pool_features
from mmkd.registry import MODELS


@MODELS.register_module()
class SimilarityAffinity(nn.Module):
    """Softmax of the cosine similarities between the mean features of nodes, over ``tau``.

    It has no parameters, so the feature itself has to change. Scaling the feature changes nothing.

    Args:
        tau: Temperature, > 0. With a smaller one, each patch attends to fewer patches.

    Raises:
        UserError: ``tau`` is not > 0.
    """

    def __init__(self, tau: float = 0.5) -> None:
        super().__init__()
        check_temperature(tau)
        self.tau = tau

    def forward(self, x: Tensor, nodes: tuple[int, int]) -> Tensor:
        """Return affinities (B, 1, n, n) between nodes of (B, C, H, W); rows sum to 1."""
        tokens = pool_features(x, nodes).flatten(2).mT
        return cosine_affinity(tokens, self.tau)[:, None]

    def extra_repr(self) -> str:
        return f'tau={self.tau}'
