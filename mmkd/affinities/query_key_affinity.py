"""Attention that a student without any learns beside itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from mmkd.errors import UserError
from mmkd.ops.nodes import pool_features
from mmkd.registry import MODELS


@MODELS.register_module()
class QueryKeyAffinity(LazyModuleMixin, nn.Module):
    """``softmax(Q K^T / sqrt(d))`` per head, with Q and K learned 1x1 convolutions of the feature.

    The convolutions are trained with the student and are not part of it. The number of the
    feature's channels is found in the first pass, which a term makes when it is built.

    Args:
        channels: Channels d of one head's queries and keys, >= 1.
        heads: Attention heads, >= 1.

    Raises:
        UserError: A parameter is outside what is allowed.
    """

    def __init__(self, channels: int = 32, heads: int = 1) -> None:
        super().__init__()
        for name, value in (('channels', channels), ('heads', heads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f'{name}={value!r} must be a positive integer')
        self.channels = channels
        self.heads = heads
        self.weight = UninitializedParameter()  # (2, heads * channels, C): queries, then keys

    @torch.no_grad()
    def initialize_parameters(self, x: Tensor, nodes: tuple[int, int]) -> None:
        """Size the convolutions for a feature (B, C, H, W); a no-op once they have a size."""
        if self.has_uninitialized_params():
            self.weight.materialize((2, self.heads * self.channels, x.shape[1]))
            bound = x.shape[1] ** -0.5  # as in a 1x1 nn.Conv2d
            nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, nodes: tuple[int, int]) -> Tensor:
        """Weights (B, heads, n, n) between the nodes of a feature (B, C, H, W); rows sum to 1.

        Raises:
            UserError: The feature has other channels than that of the first call.
        """
        if x.shape[1] != self.weight.shape[2]:
            raise UserError(
                f'QueryKeyAffinity got a feature of {x.shape[1]} channels, but its convolutions '
                f'are for {self.weight.shape[2]}'
            )
        # A 1x1 convolution and the mean over a node may change places.
        tokens = pool_features(x, nodes).flatten(2)
        query, key = (
            (w.to(x.dtype) @ tokens).unflatten(1, (self.heads, self.channels)) for w in self.weight
        )
        return (query.mT @ key / self.channels**0.5).softmax(-1)

    def extra_repr(self) -> str:
        return f'channels={self.channels}, heads={self.heads}'
