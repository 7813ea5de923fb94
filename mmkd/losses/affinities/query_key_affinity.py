"""Attention that is learned beside a student without attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from mmkd.errors import UserError, check_integer
from mmkd.ops.nodes import pool_features
from mmkd.registry import MODELS


@MODELS.register_module()
class QueryKeyAffinity(LazyModuleMixin, nn.Module):
    """``softmax(Q K^T / sqrt(D))`` per head, with Q and K learned 1x1 convolutions of the feature.

    The convolutions are trained with the student, but are not part of it. The first pass, when the
    term is built, finds the number of channels of the feature.

    Args:
        channels: Channels D of one head's queries and keys, >= 1.
        heads: Attention heads, >= 1.

    Raises:
        UserError: A parameter is out of range.
    """

    def __init__(self, channels: int = 32, heads: int = 1) -> None:
        super().__init__()
        for name, value in (('channels', channels), ('heads', heads)):
            check_integer(name, value, least=1)
        self.channels = channels
        self.heads = heads
        self.weight = UninitializedParameter()  # (2, heads * channels, C): queries, then keys

    @torch.no_grad()
    def initialize_parameters(self, x: Tensor, nodes: tuple[int, int]) -> None:
        """Size the convolutions for a feature (B, C, H, W); do nothing once they have a size."""
        if self.has_uninitialized_params():
            self.weight.materialize((2, self.heads * self.channels, x.shape[1]))
            bound = x.shape[1] ** -0.5  # as in a 1x1 nn.Conv2d
            nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, nodes: tuple[int, int]) -> Tensor:
        """Return affinities (B, heads, n, n) between nodes of (B, C, H, W); rows sum to 1.

        Raises:
            UserError: The feature has other channels than in the first call.
        """
        if x.shape[1] != self.weight.shape[2]:
            raise UserError(
                f'QueryKeyAffinity: a feature of {x.shape[1]} channels: expected '
                f'{self.weight.shape[2]}, as in the first call'
            )
        # A 1x1 convolution and the mean over a node commute.
        tokens = pool_features(x, nodes).flatten(2)
        query, key = (
            (w.to(x.dtype) @ tokens).unflatten(1, (self.heads, self.channels)) for w in self.weight
        )
        return (query.mT @ key / self.channels**0.5).softmax(-1)

    def extra_repr(self) -> str:
        return f'channels={self.channels}, heads={self.heads}'
