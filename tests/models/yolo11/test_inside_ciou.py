import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmkd.models.yolo11 import InsideCIoU
from mmkd.registry import TASK_UTILS


def test_inside_ciou_equals_hand_value():
    truth = torch.tensor([[0.0, 0, 4, 2], [10, 10, 12, 14]])
    boxes = torch.tensor([[0.0, 0, 4, 2], [0, 0, 2, 2], [20, 20, 21, 21]])
    centres = torch.tensor([[1.0, 1], [1, 1], [11, 12]])
    # Box 1 lies in truth 0: IoU 4/8; centres 1 apart, diagonal of the hull sqrt(20); aspect
    # ratios 1 and 2.
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    ciou = 0.5 - 1 / 20 - v * v / (1 - 0.5 + v)
    # Box 2's prior lies in truth 1, but the two are apart: CIoU is negative.
    expected = torch.tensor([[1.0, 0], [ciou, 0], [0, 0]])
    overlaps = InsideCIoU()(torch.cat((boxes, centres), 1), truth)
    torch.testing.assert_close(overlaps, expected, rtol=0, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_inside_assigner_positives_are_best_inside(seed, topk):
    """One ground truth: the assigner takes the ``topk`` best priors inside it, and no other."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.tensor([[3.0, 2, 12, 9]])
    ys, xs = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing='ij')
    centres = torch.stack((xs, ys), -1).view(-1, 2) + 0.5
    sides = 1 + 8 * torch.rand(len(centres), 4, generator=rng)
    boxes = torch.cat((centres - sides[:, :2], centres + sides[:, 2:]), 1)
    scores = torch.rand(len(centres), 1, generator=rng)
    given = torch.cat((boxes, centres), 1)
    assigner = TASK_UTILS.build(
        dict(
            type='mmdet.TaskAlignedAssigner', topk=topk, iou_calculator=dict(type='mmkd.InsideCIoU')
        )
    )
    result = assigner.assign(
        InstanceData(priors=torch.cat((centres, centres), 1), bboxes=given, scores=scores),
        InstanceData(bboxes=truth, labels=torch.tensor([0])),
        alpha=0.5,
        beta=6.0,
    )
    inside = ((centres > truth[:, :2]) & (centres < truth[:, 2:])).all(1)
    metric = scores[:, 0].sqrt() * InsideCIoU()(given, truth)[:, 0] ** 6
    best = metric.where(inside, torch.zeros(())).topk(topk).indices
    assert set(result.gt_inds.nonzero()[:, 0].tolist()) == set(best.tolist())


def test_inside_ciou_without_boxes_is_empty():
    assert InsideCIoU()(torch.zeros(5, 6), torch.zeros(0, 4)).shape == (5, 0)
