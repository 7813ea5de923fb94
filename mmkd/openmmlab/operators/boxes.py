"""Non-maximum suppression of boxes, as mmcv's compiled operators define it.

Shape letters: N boxes. A box is (x1, y1, x2, y2) in pixels. Its width is ``x2 - x1 + offset``, with
``offset`` 0 or 1.
"""

import torch
from torch import Tensor
from torchvision import ops

from mmkd.ops.precision import at_least_float32

_NAIVE, _LINEAR, _GAUSSIAN = range(3)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the boxes that hard suppression keeps, best score first.

    Args:
        boxes: (N, 4).
        scores: (N,).
        iou_threshold: a box goes if its IoU with a better one is above this.
        offset: 0 or 1.
    """
    boxes, scores = at_least_float32(boxes, scores)
    # With offset 1 the far corner belongs to the box, so a box is one pixel wider and higher.
    far = boxes.new_tensor([0, 0, offset, offset])
    # The compiled operators hold the threshold in float32. It decides ties such as IoU = 0.6.
    threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    return ops.nms(boxes + far, scores, threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of overlapping boxes (Bodla et al., Soft-NMS, ICCV 2017).

    Args:
        boxes: (N, 4).
        scores: (N,).
        dets: (N, 5), written: boxes and new scores of the K boxes that stay, best first.
        iou_threshold: overlaps from here on count (not for the Gaussian).
        sigma: width of the Gaussian.
        min_score: boxes whose new score is below this go.
        method: 0 sets scores to 0, 1 multiplies by 1 - IoU, 2 by exp(-IoU² / sigma).
        offset: 0 or 1.

    Returns:
        (K,), the indices of the boxes that stay.
    """
    boxes, scores = at_least_float32(boxes, scores.clone())
    left = torch.arange(len(boxes))
    kept: list[int] = []
    while len(left):
        best = int(left[scores[left].argmax()])
        dets[len(kept), :4] = boxes[best]
        dets[len(kept), 4] = scores[best]
        kept.append(best)
        left = left[left != best]
        iou = _iou(boxes[best], boxes[left], offset)
        if method == _GAUSSIAN:
            factor = torch.exp(-iou.square() / sigma)
        else:
            lowered = 1 - iou if method == _LINEAR else torch.zeros_like(iou)
            factor = torch.where(iou >= iou_threshold, lowered, 1)
        scores[left] *= factor
        left = left[~(scores[left] < min_score)]
    return torch.tensor(kept, dtype=torch.long)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Return groups of indices: a box that stays, then the boxes that it suppresses.

    Args:
        dets: (N, 5), boxes and scores.
        iou_threshold: a box joins a better one if their IoU is at least this.
    """
    (dets,) = at_least_float32(dets)
    left = dets[:, 4].sort(descending=True, stable=True).indices
    groups = []
    while len(left):
        best, left = left[0], left[1:]
        joins = _iou(dets[best, :4], dets[left, :4]) >= iou_threshold
        groups.append([int(best), *left[joins].tolist()])
        left = left[~joins]
    return groups


def _iou(box: Tensor, boxes: Tensor, offset: int = 0) -> Tensor:
    """Return the IoU (N,) of one box (4,) with others (N, 4)."""
    area = (box[2:] - box[:2] + offset).prod()
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(1)
    near, far = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    overlap = (far - near + offset).clamp(min=0).prod(1)
    return overlap / (area + areas - overlap)
