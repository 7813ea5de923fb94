"""MMSegmentation heads that do the same for less time and memory.

Two things cost most in a segmentation step and change nothing:

* ``BaseDecodeHead.loss_by_feat`` upsamples the logits to the label's size before it takes the
  loss, and computes an accuracy in every step, which only the log reads. Here the loss goes through
  a few rows at a time (:mod:`mmkd.ops.upsampled_cross_entropy`).
* ``SegformerHead`` upsamples all maps to the largest, concatenates them and applies a 1x1
  convolution. A 1x1 convolution commutes with bilinear upsampling: here it runs on the small maps,
  and its results are upsampled and added.

:func:`use_lean_heads` changes the heads of one model, in place; parameters, their names, and every
tap stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MethodType

import torch
from mmseg.models.decode_heads import SegformerHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor, nn
from torch.nn import functional

from mmkd.ops.upsampled_cross_entropy import (
    upsampled_accuracy,
    upsampled_cross_entropy,
    upsampled_cross_entropy_reference,
)

_PART = 64  # channels


def use_lean_heads(model: nn.Module) -> None:
    """Give every head of ``model`` that allows it the lean loss and the early fusion.

    The loss is replaced where a head has the base class's ``loss_by_feat``, no pixel sampler, and
    only softmax cross-entropies whose reduction is the mean. Other heads stay as they are. A second
    call changes nothing.
    """
    for head in model.modules():
        if _has_plain_loss(head):
            head.loss_by_feat = MethodType(_loss_by_feat, head)
            head.cross_entropy = upsampled_cross_entropy
            head.reports_accuracy = True
        if _fuses_late(head):
            head.fusion_conv.conv = _EarlyFusion(head.fusion_conv.conv, head)
            head.forward = MethodType(_segformer_forward, head)


def lean_loss_heads(model: nn.Module) -> list[BaseDecodeHead]:
    """Return the heads of ``model`` whose loss :func:`use_lean_heads` has replaced."""
    return [head for head in model.modules() if _has_lean_loss(head)]


@contextmanager
def plain_loss(model: nn.Module) -> Iterator[None]:
    """Let the heads of ``model`` use the plain loss, which can be differentiated twice."""
    heads = lean_loss_heads(model)
    for head in heads:
        head.cross_entropy = upsampled_cross_entropy_reference
    try:
        yield
    finally:
        for head in heads:
            head.cross_entropy = upsampled_cross_entropy


def report_accuracy(model: nn.Module, reports: bool) -> None:
    """Choose whether the lean heads of ``model`` compute ``acc_seg`` beside their loss."""
    for head in lean_loss_heads(model):
        head.reports_accuracy = reports


def _has_lean_loss(module: nn.Module) -> bool:
    return getattr(module.__dict__.get('loss_by_feat'), '__func__', None) is _loss_by_feat


def _has_plain_loss(module: nn.Module) -> bool:
    if not isinstance(module, BaseDecodeHead) or 'loss_by_feat' in module.__dict__:
        return False
    return (
        type(module).loss_by_feat is BaseDecodeHead.loss_by_feat
        and module.sampler is None
        and module.out_channels > 1
        and all(_is_softmax_mean(criterion) for criterion in _criteria(module))
    )


def _is_softmax_mean(criterion: nn.Module) -> bool:
    return (
        type(criterion) is CrossEntropyLoss
        and not criterion.use_sigmoid
        and not criterion.use_mask
        and criterion.reduction == 'mean'
    )


def _criteria(head: BaseDecodeHead) -> Sequence[nn.Module]:
    losses = head.loss_decode
    return losses if isinstance(losses, nn.ModuleList) else [losses]


def _loss_by_feat(
    head: BaseDecodeHead, seg_logits: Tensor, batch_data_samples: Sequence
) -> dict[str, Tensor]:
    """Do what ``BaseDecodeHead.loss_by_feat`` does, without upsampling the logits as a whole."""
    labels = head._stack_batch_gt(batch_data_samples).squeeze(1)
    losses = {}
    for criterion in _criteria(head):
        weight = criterion.class_weight
        value = criterion.loss_weight * head.cross_entropy(
            seg_logits,
            labels,
            class_weight=None if weight is None else torch.as_tensor(weight),
            ignore_index=head.ignore_index,
            avg_non_ignore=criterion.avg_non_ignore,
            align_corners=head.align_corners,
        )
        name = criterion.loss_name
        losses[name] = losses[name] + value if name in losses else value
    if head.reports_accuracy:
        losses['acc_seg'] = upsampled_accuracy(
            seg_logits, labels, head.ignore_index, head.align_corners
        )
    return losses


def _fuses_late(module: nn.Module) -> bool:
    if type(module) is not SegformerHead or 'forward' in module.__dict__:
        return False
    conv = module.fusion_conv.conv
    return type(conv) is nn.Conv2d and conv.kernel_size == (1, 1) and conv.groups == 1


def _segformer_forward(head: SegformerHead, inputs: Sequence[Tensor]) -> Tensor:
    inputs = head._transform_inputs(inputs)
    maps = [conv(x) for conv, x in zip(head.convs, inputs, strict=True)]
    return head.cls_seg(head.fusion_conv(maps))


class _EarlyFusion(nn.Conv2d):
    """A 1x1 convolution of upsampled and concatenated maps, applied before they are upsampled.

    Args:
        conv: the convolution whose parameters are used.
        head: says how it upsamples.
    """

    def __init__(self, conv: nn.Conv2d, head: SegformerHead) -> None:
        has_bias = conv.bias is not None
        super().__init__(
            conv.in_channels, conv.out_channels, kernel_size=1, bias=has_bias, device='meta'
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)
        self.mode = head.interpolate_mode
        self.align_corners = head.align_corners

    def _conv_forward(self, input: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return (B, C', H, W) of maps (B, C_i, H_i, W_i), the first of which is (H, W) large."""
        weights = weight.split([x.shape[1] for x in input], dim=1)
        fused = functional.conv2d(input[0], weights[0], bias)
        smaller = [functional.conv2d(x, w) for x, w in zip(input[1:], weights[1:], strict=True)]
        # In parts, so that what is upsampled is added while the cache of a CPU still holds it.
        # Autograd would copy the whole for each part.
        in_parts = fused.device.type == 'cpu' and not torch.is_grad_enabled()
        size = _PART if in_parts else fused.shape[1]
        for start in range(0, fused.shape[1], size):
            part = slice(start, start + size)
            for x in smaller:
                fused[:, part] += functional.interpolate(
                    x[:, part],
                    fused.shape[2:],
                    mode=self.mode,
                    align_corners=self.align_corners,
                )
        return fused
