"""Compute attention without the weights that a network does not use.

MMCV's attention blocks call :class:`torch.nn.MultiheadAttention` for its output and throw the
weights (B, N, M) away. PyTorch computes them only if it is asked: without them it takes its fused
kernel, which never holds (B, heads, N, M). SegFormer's first stage has 32,768 queries at 512x1024.
"""

from typing import Any

import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention
from mmseg.models.backbones.mit import EfficientMultiheadAttention
from torch import nn

# Their `forward` reads the output alone. A class derived from them may read the weights.
_BLOCKS = (MultiheadAttention, EfficientMultiheadAttention)


def use_lean_attention(model: nn.Module) -> None:
    """Let the attention blocks of ``model`` run without returning weights, in place.

    The outputs are the same up to rounding. Calls with a mask or with dropout keep their path, and
    so does everything where PyTorch is told to be deterministic. A second call changes nothing.
    """
    for block in model.modules():
        if type(block) not in _BLOCKS:
            continue
        if _leave_out_weights not in block.attn._forward_pre_hooks.values():
            block.attn.register_forward_pre_hook(_leave_out_weights, with_kwargs=True)


def _leave_out_weights(
    attention: nn.MultiheadAttention, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]] | None:
    masked = any(kwargs.get(key) is not None for key in ('attn_mask', 'key_padding_mask'))
    # A tapped module has a forward of its own for that pass, and the tap may be its weights.
    tapped = 'forward' in vars(attention)
    drops = attention.training and attention.dropout > 0
    if masked or tapped or drops or torch.are_deterministic_algorithms_enabled():
        return None
    return args, {'need_weights': False} | kwargs
