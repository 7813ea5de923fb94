"""What an attention tap reads: the queries and keys of a block, not yet multiplied out.

Of VMamba, which has none, it reads what the scan of a block is given (:mod:`mmkd.scan_taps`).

Shapes: ``B`` samples, ``N`` queries and ``M`` keys in raster order, ``d`` channels of one head,
``n`` nodes.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch
from mmseg.models.backbones.mit import EfficientMultiheadAttention
from mmseg.models.utils import nchw_to_nlc, nlc_to_nchw
from torch import Tensor, nn
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.models.vmamba import FourPathScan
from mmkd.ops.nodes import MAX_NODES, node_grid, pool_keys, pool_queries
from mmkd.scan_taps import ScanInputs

_READABLE = (EfficientMultiheadAttention, nn.MultiheadAttention, FourPathScan)


@dataclasses.dataclass(frozen=True)
class Attention:
    """The attention of one block for one batch, ``softmax(query key^T / sqrt(d) + mask)``.

    Attributes:
        query: (B, heads, N, d).
        key: (B, heads, M, d).
        grid: (height, width) of the queries; None where the block does not say.
        key_grid: that of the keys. It is smaller than ``grid`` in a block with spatial reduction.
        mask: added to the scores, broadcastable to (B, heads, N, M), or None.
    """

    query: Tensor
    key: Tensor
    grid: tuple[int, int] | None = None
    key_grid: tuple[int, int] | None = None
    mask: Tensor | None = None

    @property
    def is_reduced(self) -> bool:
        """Whether the keys are not the queries' own patches."""
        return self.grid != self.key_grid or self.query.shape[2] != self.key.shape[2]

    def weights(self) -> Tensor:
        """Per-head attention (B, heads, N, M), rows summing to 1, at least in float32."""
        with torch.autocast(self.query.device.type, enabled=False):
            query, key = self._wide()
            scores = query @ key.mT / query.shape[-1] ** 0.5
            return (scores if self.mask is None else scores + self.mask).softmax(-1)

    def on_nodes(self, nodes: tuple[int, int]) -> Tensor:
        """Per-head attention between the nodes of a grid; rows sum to 1.

        Where the attention has more than ``MAX_NODES`` squared entries a head, it is never made:
        queries and keys are pooled first, and attend to each other then.

        Args:
            nodes: (h, w).

        Returns:
            (B, heads, n, n); (B, heads, n, M) where the block reduces its keys, which then stay as
            they are if there are no more than ``MAX_NODES`` of them.

        Raises:
            UserError: the block does not say how its tokens lie, and ``nodes`` does not tell.
        """
        count = self.query.shape[2]
        grid = tuple(nodes) if self.grid is None else self.grid
        if count != grid[0] * grid[1]:
            raise UserError(
                f'attention of {count} tokens whose block does not say how they lie; allowed: '
                f'nodes=(height, width) with as many nodes, not {tuple(nodes)}'
            )
        if self.grid is not None and count * self.key.shape[2] > MAX_NODES**2:
            return self._pooled(nodes).weights()
        weights = pool_queries(self.weights(), grid, nodes)
        return weights if self.is_reduced else pool_keys(weights, grid, nodes)

    def detach(self) -> Attention:
        """The same without a gradient."""
        return dataclasses.replace(self, query=self.query.detach(), key=self.key.detach())

    def _pooled(self, nodes: tuple[int, int]) -> Attention:
        key_nodes = node_grid(self.key_grid) if self.is_reduced else nodes
        query, key = self._wide()
        return Attention(
            pool_queries(query, self.grid, nodes), pool_queries(key, self.key_grid, key_nodes)
        )

    def _wide(self) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(self.query.dtype, torch.float32)
        return self.query.to(wide), self.key.to(wide)


def check_attention(path: str, module: nn.Module) -> None:
    """Check that the attention of ``module`` can be read.

    Raises:
        UserError: it is no block of a kind that is read; the message says which are.
    """
    if isinstance(module, _READABLE):
        return
    name = type(module).__name__
    inside = [f'{path}.{n}' for n, m in module.named_modules() if isinstance(m, _READABLE)]
    if inside:
        why = f'is a {name}; inside it: {", ".join(inside[:3])}'
    elif 'Window' in name:
        why = f'is a {name}, whose attention sees one window at a time and not the image'
    elif type(module).__module__.startswith('timm.'):
        why = f"is timm's {name}, whose queries and keys differ from model to model"
    else:
        why = f'is a {name}'
    raise UserError(
        f"tap 'attention({path})' reads torch's nn.MultiheadAttention, MMSegmentation's "
        f"SegFormer blocks and VMamba's scans; {path} {why}"
    )


def read_attention(
    module: nn.Module, args: tuple, kwargs: dict[str, Any]
) -> Attention | ScanInputs:
    """The attention with which ``module`` answers a call ``module(*args, **kwargs)``.

    Only the projections to queries and keys are computed, a second time; dropout is left out.

    Args:
        module: one that :func:`check_attention` passes.
    """
    call = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
    if isinstance(module, FourPathScan):
        return ScanInputs(*(call[f.name] for f in dataclasses.fields(ScanInputs)))
    if isinstance(module, EfficientMultiheadAttention):
        return _segformer_attention(module, call['x'], call['hw_shape'])
    return _torch_attention(module, call)


def _segformer_attention(
    module: EfficientMultiheadAttention, x: Tensor, grid: tuple[int, int]
) -> Attention:
    source, key_grid = x, tuple(grid)
    if module.sr_ratio > 1:
        reduced = module.sr(nlc_to_nchw(x, grid))
        source, key_grid = module.norm(nchw_to_nlc(reduced)), tuple(reduced.shape[2:])
    return Attention(*_project(module.attn, x, source), tuple(grid), key_grid)


def _torch_attention(module: nn.MultiheadAttention, call: dict[str, Any]) -> Attention:
    query, key = call['query'], call['key']
    if query.ndim == 2:
        query, key = query[None], key[None]
    elif not module.batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    query, key = _project(module, query, key)
    mask = None
    if call.get('attn_mask') is not None:
        mask = _additive(call['attn_mask'], query)
        mask = mask.unflatten(0, (-1, module.num_heads)) if mask.ndim == 3 else mask
    if call.get('key_padding_mask') is not None:
        padding = _additive(call['key_padding_mask'], query)
        padding = padding.view(-1, 1, 1, padding.shape[-1])
        mask = padding if mask is None else mask + padding
    if mask is not None:
        mask = functional.pad(mask, (0, key.shape[2] - mask.shape[-1]))
    return Attention(query, key, mask=mask)


def _project(module: nn.MultiheadAttention, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Per-head queries and keys of ``query`` (B, N, E) and ``key`` (B, M, E')."""
    if module.in_proj_weight is None:
        weights = (module.q_proj_weight, module.k_proj_weight)
    else:
        weights = module.in_proj_weight.chunk(3)[:2]
    biases = (None, None) if module.in_proj_bias is None else module.in_proj_bias.chunk(3)[:2]
    query, key = map(functional.linear, (query, key), weights, biases)
    if module.bias_k is not None:
        key = torch.cat([key, module.bias_k.expand(len(key), 1, -1)], dim=1)
    if module.add_zero_attn:
        key = functional.pad(key, (0, 0, 0, 1))
    heads = (module.num_heads, -1)
    return query.unflatten(-1, heads).transpose(1, 2), key.unflatten(-1, heads).transpose(1, 2)


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)
