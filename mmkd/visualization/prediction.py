"""Predictions and ground truth as pictures."""

from collections.abc import Mapping

import cv2
import numpy as np
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import BaseDataElement, InstanceData

from mmkd.openmmlab.tasks import has_label_maps
from mmkd.visualization.panel import caption, colour_labels

_SCORE = 0.3  # minimum score of a box that is drawn
_WIDTH = 120  # pixels; a classified image is enlarged to at least this, to fit the class's name
_FAR = 1e5  # pixels; OpenCV can still draw to a point this far outside of an image


def truth_picture(image: np.ndarray, sample: BaseDataElement, metainfo: Mapping) -> np.ndarray:
    """Draw the annotations of a sample, see :func:`prediction_picture`."""
    if has_label_maps([sample]):
        return colour_labels(sample.gt_sem_seg.data[0].cpu().numpy(), metainfo['palette'])
    if 'gt_label' in sample:
        return _named(image, ', '.join(metainfo['classes'][i] for i in sample.gt_label.tolist()))
    return _boxes(_at_file_size(image, sample), sample.gt_instances, metainfo)


def prediction_picture(image: np.ndarray, sample: BaseDataElement, metainfo: Mapping) -> np.ndarray:
    """Draw a prediction.

    It is the labels as colours, boxes with a score above 0.3 over the image, or the image under the
    name of its class.

    Args:
        image: BGR picture (H, W, 3), uint8, as the pipeline gives it.
        sample: What ``test_step`` returns for it.
        metainfo: The dataset's ``classes`` and ``palette``.

    Returns:
        BGR picture, uint8.
    """
    if 'pred_sem_seg' in sample:
        return colour_labels(sample.pred_sem_seg.data[0].cpu().numpy(), metainfo['palette'])
    if 'pred_label' in sample:
        (label,) = sample.pred_label.tolist()
        return _named(image, f'{metainfo["classes"][label]} {sample.pred_score[label]:.2f}')
    found = sample.pred_instances
    return _boxes(_at_file_size(image, sample), found[found.scores > _SCORE], metainfo)


def _named(image: np.ndarray, text: str) -> np.ndarray:
    times = -(-_WIDTH // image.shape[1])
    image = image.repeat(times, 0).repeat(times, 1)
    return np.vstack([caption(text, image.shape[1], 24), image])


def _at_file_size(image: np.ndarray, sample: BaseDataElement) -> np.ndarray:
    height, width = sample.ori_shape
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def _boxes(image: np.ndarray, instances: InstanceData, metainfo: Mapping) -> np.ndarray:
    picture = image.copy()
    palette = metainfo.get('palette') or [(0, 200, 0)] * len(metainfo['classes'])
    boxes = get_box_tensor(instances.bboxes).float().cpu().nan_to_num().clamp(-_FAR, _FAR)
    boxes = boxes.round().int().tolist()
    for box, label in zip(boxes, instances.labels.tolist(), strict=True):
        colour = tuple(int(c) for c in palette[label][::-1])
        cv2.rectangle(picture, tuple(box[:2]), tuple(box[2:]), colour, 2)
    return picture
