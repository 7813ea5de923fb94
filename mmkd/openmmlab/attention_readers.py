"""Read the attention of blocks from other libraries.

Only the projections to queries and keys are computed again. Dropout is left out.

Shapes: see :mod:`mmkd.ops`; ``E`` channels.
"""

from collections.abc import Callable
from typing import Any

import torch
from mmseg.models.backbones.mit import EfficientMultiheadAttention
from mmseg.models.utils import nchw_to_nlc, nlc_to_nchw
from torch import Tensor, nn
from torch.nn import functional

from mmkd.ops.attention_readings import Attention


def _segformer_attention(
    module: EfficientMultiheadAttention, arguments: dict[str, Any]
) -> Attention:
    x, grid = arguments['x'], arguments['hw_shape']
    source, key_grid = x, tuple(grid)
    if module.sr_ratio > 1:
        reduced = module.sr(nlc_to_nchw(x, grid))
        source, key_grid = module.norm(nchw_to_nlc(reduced)), tuple(reduced.shape[2:])
    return Attention(*_project(module.attn, x, source), tuple(grid), key_grid)


def _torch_attention(module: nn.MultiheadAttention, arguments: dict[str, Any]) -> Attention:
    query, key = arguments['query'], arguments['key']
    if query.ndim == 2:
        query, key = query[None], key[None]
    elif not module.batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    query, key = _project(module, query, key)
    mask = None
    if arguments.get('attn_mask') is not None:
        mask = _additive(arguments['attn_mask'], query)
        mask = mask.unflatten(0, (-1, module.num_heads)) if mask.ndim == 3 else mask
    if arguments.get('key_padding_mask') is not None:
        padding = _additive(arguments['key_padding_mask'], query)
        padding = padding.view(-1, 1, 1, padding.shape[-1])
        mask = padding if mask is None else mask + padding
    if mask is not None:
        mask = functional.pad(mask, (0, key.shape[2] - mask.shape[-1]))
    return Attention(query, key, mask=mask)


def _project(module: nn.MultiheadAttention, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Return per-head queries and keys of ``query`` (B, N, E) and ``key`` (B, M, E')."""
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


READERS: dict[type[nn.Module], Callable[[Any, dict[str, Any]], Attention]] = {
    EfficientMultiheadAttention: _segformer_attention,
    nn.MultiheadAttention: _torch_attention,
}
"""For each type of block, a function of the block and of the arguments of its call by name."""
