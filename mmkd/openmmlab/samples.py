"""A synthetic batch, for networks that are tried or measured where no data is read.

Shapes: B images, C channels, H height, W width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmkd.openmmlab.tasks import image_channels, is_classifier, is_detector, is_segmentor


def blank_samples(network: nn.Module, size: tuple[int, int]) -> list[BaseDataElement] | None:
    """Return the annotations of one image (H, W) that any training loss of a network can ask for.

    A segmentor's sample and a detector's hold the same: one box that fills a quarter of the image,
    with its mask, also as a proposal, and maps of class 0, of edges and of depth. A classifier's is
    of class 0.

    Args:
        network: The network that is to be trained on them.
        size: Height and width of the image.

    Returns:
        One sample in a list; None for networks of other libraries, whose needs are unknown.
    """
    if is_classifier(network):
        from mmpretrain.structures import DataSample  # an extra, there if the network is

        return [DataSample(metainfo=dict(img_shape=size, ori_shape=size)).set_gt_label(0)]
    if not (is_segmentor(network) or is_detector(network)):
        return None
    height, width = size
    facts = dict(
        img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size,
        scale_factor=(1.0, 1.0), flip=False, flip_direction=None, img_id=0,
    )  # fmt: skip
    sample = (SegDataSample if is_segmentor(network) else DetDataSample)(metainfo=facts)
    box = torch.tensor([[0.0, 0.0, width / 2, height / 2]])
    mask = np.zeros((1, height, width), np.uint8)
    mask[:, : height // 2, : width // 2] = 1
    instances = InstanceData(
        bboxes=box, labels=torch.zeros(1).long(), masks=BitmapMasks(mask, height, width)
    )
    classes = torch.zeros(1, height, width, dtype=torch.long)
    sample.gt_instances = instances
    sample.ignored_instances = instances[:0]
    sample.proposals = InstanceData(bboxes=box.clone(), scores=torch.ones(1))
    # MMSegmentation and MMDetection name the same map differently.
    sample.gt_sem_seg = PixelData(**{'data' if is_segmentor(network) else 'sem_seg': classes})
    sample.gt_edge_map = PixelData(data=torch.from_numpy(mask).long())
    sample.gt_depth_map = PixelData(data=torch.ones(1, height, width))
    return [sample]


def synthetic_batch(
    network: nn.Module, size: tuple[int, int], count: int
) -> tuple[Tensor, Sequence[BaseDataElement] | None]:
    """Return images of noise (B, C, H, W), preprocessed, and their annotations.

    A detector's own preprocessor runs, because some add annotations of their own. What resizes or
    pads whole batches is left out of it, so that images keep their size.

    Args:
        network: The network that is to take them.
        size: Height and width, multiples of what the network's preprocessor pads to.
        count: How many images, B.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, image_channels(network), *size, generator=generator)
    samples = [blank_samples(network, size) for _ in range(count)]
    samples = None if None in samples else [sample for (sample,) in samples]
    preprocessor = getattr(network, 'data_preprocessor', None)
    if not isinstance(preprocessor, DetDataPreprocessor):
        return images, samples
    whole_batch, preprocessor.batch_augments = preprocessor.batch_augments, None
    try:
        raw = dict(inputs=list((images * 255).byte()), data_samples=samples)
        batch = preprocessor(raw, training=True)
    finally:
        preprocessor.batch_augments = whole_batch
    return batch['inputs'], batch['data_samples']


def resized_samples(
    samples: Sequence[BaseDataElement], before: tuple[int, int], after: tuple[int, int]
) -> list[BaseDataElement]:
    """Return samples of images that were resized, for a pass without loss.

    Sizes, padding and scale factors change; annotations are shared and stay at the old size.

    Args:
        samples: The samples.
        before, after: Height and width of the batch's images.
    """
    rows, columns = after[0] / before[0], after[1] / before[1]
    resized = []
    for sample in samples:
        known, facts = sample.metainfo, {}
        for key in ('img_shape', 'pad_shape', 'batch_input_shape'):
            if known.get(key) is not None:  # MMSegmentation writes None where there are no labels
                height, width, *rest = known[key]
                facts[key] = (round(height * rows), round(width * columns), *rest)
        for key in ('padding_size', 'img_padding_size'):  # left, right, top, bottom
            if key in known:
                sides = zip(known[key], (columns, columns, rows, rows), strict=True)
                facts[key] = [round(side * factor) for side, factor in sides]
        if known.get('scale_factor') is not None:
            width, height = known['scale_factor'][:2]
            facts['scale_factor'] = (width * columns, height * rows)
        copied = sample.new()
        copied.set_metainfo(facts)
        resized.append(copied)
    return resized


def stated_sizes(network: nn.Module) -> list[tuple[int, int]]:
    """Return the image sizes (H, W) that a network states itself, the most binding first.

    Vision transformers with one learned position for each patch take one size only. The
    preprocessor of MMSegmentation states the size of the crops.
    """
    found = [getattr(module, 'img_size', None) for module in network.modules()]
    found.append(getattr(getattr(network, 'data_preprocessor', None), 'size', None))
    pairs = [(value, value) if isinstance(value, int) else value for value in found]
    return list(
        dict.fromkeys(tuple(p) for p in pairs if isinstance(p, list | tuple) and len(p) == 2)
    )
