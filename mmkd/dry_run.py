"""Annotations for the one forward pass that finds a distillation's channel counts."""

import torch
from mmengine.structures import InstanceData, PixelData
from mmseg.models import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import nn


def blank_samples(network: nn.Module, side: int) -> list | None:
    """Annotations of one image without content, for networks that want some."""
    size = dict(img_shape=(side, side), ori_shape=(side, side), pad_shape=(side, side))
    if isinstance(network, BaseSegmentor):
        label = PixelData(data=torch.zeros(1, side, side, dtype=torch.long))
        return [SegDataSample(gt_sem_seg=label, metainfo=size)]
    if any(cls.__module__.startswith('mmdet.') for cls in type(network).__mro__):
        from mmdet.structures import DetDataSample

        instances = InstanceData(
            bboxes=torch.tensor([[0.0, 0.0, side / 2, side / 2]]), labels=torch.zeros(1).long()
        )
        size |= dict(batch_input_shape=(side, side), scale_factor=(1.0, 1.0))
        return [
            DetDataSample(gt_instances=instances, ignored_instances=instances[:0], metainfo=size)
        ]
    return None
