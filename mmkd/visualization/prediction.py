"""What a network says of an image, and what is true, as pictures of one size."""

from collections.abc import Mapping

import cv2
import numpy as np
from mmengine.structures import BaseDataElement, InstanceData

from mmkd.visualization.panel import colour_labels

_SCORE = 0.3  # least score of a box that is drawn


def truth_picture(image: np.ndarray, sample: BaseDataElement, metainfo: Mapping) -> np.ndarray:
    """The annotations of a sample, see :func:`prediction_picture`; boxes count for the file."""
    if 'gt_sem_seg' in sample:
        return colour_labels(sample.gt_sem_seg.data[0].cpu().numpy(), metainfo['palette'])
    return _boxes(_at_file_size(image, sample), sample.gt_instances, metainfo)


def prediction_picture(image: np.ndarray, sample: BaseDataElement, metainfo: Mapping) -> np.ndarray:
    """A network's answer: labels as colours, or boxes of a score over 0.3 over the image.

    Args:
        image: BGR picture (H, W, 3), uint8, as the pipeline yields it.
        sample: what ``test_step`` returns for it.
        metainfo: the data set's ``classes`` and ``palette``.

    Returns:
        BGR picture, uint8.
    """
    if 'pred_sem_seg' in sample:
        return colour_labels(sample.pred_sem_seg.data[0].cpu().numpy(), metainfo['palette'])
    found = sample.pred_instances
    return _boxes(_at_file_size(image, sample), found[found.scores > _SCORE], metainfo)


def _at_file_size(image: np.ndarray, sample: BaseDataElement) -> np.ndarray:
    height, width = sample.ori_shape
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def _boxes(image: np.ndarray, instances: InstanceData, metainfo: Mapping) -> np.ndarray:
    picture = image.copy()
    palette = metainfo.get('palette') or [(0, 200, 0)] * len(metainfo['classes'])
    boxes = np.asarray(instances.bboxes.cpu()).round().astype(int).tolist()
    for box, label in zip(boxes, instances.labels.tolist(), strict=True):
        colour = tuple(int(c) for c in palette[label][::-1])
        cv2.rectangle(picture, tuple(box[:2]), tuple(box[2:]), colour, 2)
    return picture
