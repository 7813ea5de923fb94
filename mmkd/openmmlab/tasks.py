"""Distinguish segmentors, detectors, classifiers and their parts."""

from collections.abc import Iterator, Sequence

import torch
from mmdet.models.roi_heads.mask_heads import FusedSemanticHead
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from mmseg.models import BaseSegmentor
from torch import Tensor, nn


def is_segmentor(network: nn.Module) -> bool:
    """Return whether ``network`` is a segmentor of MMSegmentation."""
    return isinstance(network, BaseSegmentor)


def segmentation_head(network: nn.Module) -> nn.Module:
    """Return the head whose logits a segmentor predicts with: a cascade's last one."""
    heads = network.decode_head
    return heads[-1] if isinstance(heads, nn.ModuleList) else heads


def is_detector(network: nn.Module) -> bool:
    """Return whether ``network`` is a detector of MMDetection, or a subclass of one.

    Some of its models do not have a common base class, but all come from its package.
    """
    return _comes_from(network, 'mmdet.')


def is_classifier(network: nn.Module) -> bool:
    """Return whether ``network`` is a classifier of MMPretrain, which need not be installed."""
    return _comes_from(network, 'mmpretrain.models.classifiers.')


def _comes_from(network: nn.Module, package: str) -> bool:
    return any(kind.__module__.startswith(package) for kind in type(network).__mro__)


def predicts(network: nn.Module) -> bool:
    """Return whether ``network`` predicts for a dataset, as a backbone without a head does not.

    All models of MMEngine's libraries do.
    """
    return isinstance(network, BaseModel)


def has_label_maps(samples: Sequence[BaseDataElement]) -> bool:
    """Return whether every sample has a class for each pixel, not only boxes."""
    return all('gt_sem_seg' in sample and 'data' in sample.gt_sem_seg for sample in samples)


def label_maps(samples: Sequence[BaseDataElement]) -> Tensor | None:
    """Return the class of each pixel (B, H, W), or None where a sample has boxes only."""
    if not has_label_maps(samples):
        return None
    return torch.stack([sample.gt_sem_seg.data.squeeze(0) for sample in samples])


def image_channels(network: nn.Module) -> int:
    """Return how many channels a network's images have, as its first convolution tells."""
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    return first.in_channels if first is not None and first.in_channels <= 4 else 3


def class_heads(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every head that classifies into the dataset's classes, with its path.

    Heads of the three libraries do not have a common base class. They share the end of
    their names and the attribute ``num_classes``. Two kinds are left out: a region proposal network
    only separates objects from background, and ``FusedSemanticHead`` classifies pixels, not boxes.
    """
    for name, module in network.named_modules():
        if (
            type(module).__name__.endswith('Head')
            and hasattr(module, 'num_classes')
            and 'rpn_head' not in name.split('.')
            and not isinstance(module, FusedSemanticHead)
        ):
            yield name, module
