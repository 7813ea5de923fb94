"""Images without labels in a batch of MMSegmentation or MMDetection."""

import numpy as np
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import BaseDataElement, InstanceData, PixelData


def without_annotations(sample: BaseDataElement) -> BaseDataElement:
    """Return a sample of the same image with none of its annotations.

    MMDetection's preprocessors want boxes, and some pad masks and maps of classes, without asking
    whether there are any. A detector's sample has no box, no mask, and a map in which no pixel
    counts.
    """
    bare = type(sample)(metainfo=sample.metainfo)
    if 'gt_instances' in sample:
        size = tuple(sample.metainfo.get('img_shape', (0, 0))[:2])
        bare.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
        bare.ignored_instances = bare.gt_instances.clone()
        bare.gt_instances.masks = BitmapMasks(np.zeros((0, *size), np.uint8), *size)
        bare.gt_sem_seg = PixelData(sem_seg=torch.full((1, *size), 255, dtype=torch.uint8))
    return bare
