"""The values that an attention tap records: queries and keys, or the inputs of VMamba's scan.

Shapes: see :mod:`mmkd.ops`. ``L`` positions lie along a path of :mod:`mmkd.ops.cross_scan`; ``K``
counts the channels of all four paths.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.ops.nodes import MAX_NODES, node_grid, pool_keys, pool_queries
from mmkd.ops.precision import at_least_float32


class AttentionReading(ABC):
    """The attention of one block, in the form in which the block computes it."""

    grid: tuple[int, int] | None
    """(height, width) of the queries; None where the block does not give it."""

    is_reduced: bool = False
    """Whether the keys lie on a coarser grid than the queries."""

    @property
    @abstractmethod
    def tensor(self) -> Tensor:
        """A tensor with the batch, dtype and device of the values; it carries their gradient."""

    @abstractmethod
    def detach(self) -> AttentionReading:
        """Return a copy without a gradient."""


@dataclasses.dataclass(frozen=True)
class Attention(AttentionReading):
    """The attention of one block for one batch, ``softmax(query key^T / sqrt(d) + mask)``.

    Attributes:
        query: (B, heads, N, D).
        key: (B, heads, M, D).
        grid: (height, width) of the queries; None where the block does not give it.
        key_grid: (height, width) of the keys; smaller than ``grid`` under spatial reduction.
        mask: Added to the scores, broadcastable to (B, heads, N, M), or None.
    """

    query: Tensor
    key: Tensor
    grid: tuple[int, int] | None = None
    key_grid: tuple[int, int] | None = None
    mask: Tensor | None = None

    @property
    def tensor(self) -> Tensor:
        return self.query

    @property
    def is_reduced(self) -> bool:
        """Whether the keys lie on a coarser grid than the queries."""
        return self.grid != self.key_grid or self.query.shape[2] != self.key.shape[2]

    def affinity(self) -> Tensor:
        """Return the attention per head (B, heads, N, M); rows sum to 1. At least float32."""
        with torch.autocast(self.query.device.type, enabled=False):
            query, key = at_least_float32(self.query, self.key)
            scores = query @ key.mT / query.shape[-1] ** 0.5
            return (scores if self.mask is None else scores + self.mask).softmax(-1)

    def on_nodes(self, nodes: tuple[int, int]) -> Tensor:
        """Return the attention between the nodes of a grid, per head; rows sum to 1.

        If the attention has more than ``MAX_NODES`` squared entries a head, it is not computed in
        full. Queries and keys are pooled to the nodes first.

        Args:
            nodes: (h, w).

        Returns:
            (B, heads, n, n). (B, heads, n, M) where the block reduces its keys: these stay as they
            are up to ``MAX_NODES`` keys.

        Raises:
            UserError: The grid of the tokens is unknown, and ``nodes`` does not match their number.
        """
        count = self.query.shape[2]
        grid = tuple(nodes) if self.grid is None else self.grid
        if count != grid[0] * grid[1]:
            raise UserError(
                f'attention of {count} tokens on an unknown grid, nodes={tuple(nodes)}: expected '
                f'nodes=(height, width) with {count} nodes in all'
            )
        if self.grid is not None and count * self.key.shape[2] > MAX_NODES**2:
            return self._pooled(nodes).affinity()
        affinity = pool_queries(self.affinity(), grid, nodes)
        return affinity if self.is_reduced else pool_keys(affinity, grid, nodes)

    def detach(self) -> Attention:
        return dataclasses.replace(self, query=self.query.detach(), key=self.key.detach())

    def _pooled(self, nodes: tuple[int, int]) -> Attention:
        key_nodes = node_grid(self.key_grid) if self.is_reduced else nodes
        query, key = at_least_float32(self.query, self.key)
        return Attention(
            pool_queries(query, self.grid, nodes), pool_queries(key, self.key_grid, key_nodes)
        )


@dataclasses.dataclass(frozen=True)
class ScanInputs(AttentionReading):
    """What determines a four-path scan's hidden attention: step sizes, A, B and C.

    The scan's input ``u`` is not needed.

    Attributes:
        delta: Step sizes before bias and softplus, (B, K, L).
        A: Rates, (K, S), negative.
        B: Input weights, (B, 4, S, L).
        C: Output weights, (B, 4, S, L).
        delta_bias: Added to ``delta``, (K,).
        grid: (height, width) of the image.
    """

    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    delta_bias: Tensor
    grid: tuple[int, int]

    @property
    def tensor(self) -> Tensor:
        return self.delta

    def steps(self) -> Tensor:
        """Return the step sizes (B, K, L), all positive."""
        return functional.softplus(self.delta + self.delta_bias[:, None])

    def detach(self) -> ScanInputs:
        return self._each(Tensor.detach)

    def to(self, dtype: torch.dtype) -> ScanInputs:
        """Return the same inputs in another dtype."""
        return self._each(lambda x: x.to(dtype))

    def _each(self, change) -> ScanInputs:
        names = ('delta', 'A', 'B', 'C', 'delta_bias')
        return dataclasses.replace(self, **{n: change(getattr(self, n)) for n in names})
