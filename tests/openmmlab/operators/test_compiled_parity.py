"""mmkd's operators give what mmcv's compiled ones give: values and gradients, on the CPU."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmcv.ops import batched_nms, nms, nms_match, soft_nms
from torch import Tensor

from mmkd.analysis.operator_parity import largest_differences, parity_cases

# The fixture only chooses operators, which no example changes.
property_test = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def boxes_on_a_grid(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Boxes with whole corners, whose IoUs often equal a threshold, and scores that all differ."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 12, (count, 2, 2), generator=generator).float().sort(1).values
    scores = torch.randperm(count, generator=generator).float() / max(count, 1)
    return corners.flatten(1), scores


@property_test
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 40),
    threshold=st.sampled_from([0.3, 0.5, 0.6, 0.7]),
    offset=st.sampled_from([0, 1]),
)
def test_nms_keeps_the_boxes_of_compiled_nms(both, seed, count, threshold, offset):
    boxes, scores = boxes_on_a_grid(seed, count)
    ours, compiled = both(lambda: nms(boxes, scores, threshold, offset))
    assert torch.equal(ours[1], compiled[1]) and torch.equal(ours[0], compiled[0])


@property_test
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 40),
    method=st.sampled_from(['naive', 'linear', 'gaussian']),
    offset=st.sampled_from([0, 1]),
    min_score=st.sampled_from([0.0, 1e-3, 0.2]),
)
def test_soft_nms_gives_compiled_scores(both, seed, count, method, offset, min_score):
    boxes, scores = boxes_on_a_grid(seed, count)
    boxes = boxes + torch.tensor([0, 0, 1, 1])  # IoU of two empty boxes is 0 / 0
    ours, compiled = both(
        lambda: soft_nms(boxes, scores, 0.5, min_score=min_score, method=method, offset=offset)
    )
    torch.testing.assert_close(ours[0][:, 4], compiled[0][:, 4], rtol=1e-5, atol=1e-7)
    distinct = len(set(compiled[0][:, 4].tolist())) == len(compiled[1])
    if distinct:  # boxes of one score may come in either order
        assert torch.equal(ours[1], compiled[1])


@property_test
@given(seed=st.integers(0, 2**31), count=st.integers(0, 40), threshold=st.sampled_from([0.3, 0.6]))
def test_nms_match_groups_as_compiled(both, seed, count, threshold):
    dets = torch.cat([(b := boxes_on_a_grid(seed, count))[0], b[1][:, None]], 1)
    ours, compiled = both(lambda: [group.tolist() for group in nms_match(dets, threshold)])
    assert ours == compiled


def test_batched_nms_keeps_the_boxes_of_compiled_nms(both):
    boxes, scores = boxes_on_a_grid(0, 200)
    classes = torch.arange(200) % 3
    config = dict(type='nms', iou_threshold=0.5)
    ours, compiled = both(lambda: batched_nms(boxes, scores, classes, config))
    assert torch.equal(ours[1], compiled[1])


@pytest.mark.parametrize('case', parity_cases())
def test_operator_layer_equals_compiled(both, case):
    ours, compiled = both(parity_cases()[case])
    assert max(largest_differences(ours, compiled)) <= 1e-5
