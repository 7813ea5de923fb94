"""Images without labels in a batch of MMSegmentation or MMDetection."""

from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor


def without_annotations(sample: BaseDataElement) -> BaseDataElement:
    """Return a sample of the same image, marked as unlabelled, with none of its annotations.

    MMDetection's preprocessors want boxes: a detector's sample has none instead of no field.
    """
    bare = type(sample)(metainfo=dict(sample.metainfo, unlabelled=True))
    if 'gt_instances' in sample:
        bare.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
        bare.ignored_instances = bare.gt_instances.clone()
    return bare


def split_unlabelled(
    inputs: Tensor, samples: Sequence[BaseDataElement] | None
) -> tuple[tuple, tuple | None]:
    """Divide a batch, whose unlabelled images come last, into the labelled part and the rest.

    Args:
        inputs: Images (B, 3, H, W).
        samples: Their annotations, or what ``without_annotations`` made of them.

    Returns:
        Images and samples of the labelled part, and of the unlabelled one if there is one.
    """
    known = [] if samples is None else samples
    count = sum(getattr(sample, 'unlabelled', False) for sample in known)
    if not count:
        return (inputs, samples), None
    return (inputs[:-count], samples[:-count]), (inputs[-count:], samples[-count:])
