"""Operators on half precision, as autocast gives it: float32's results, rounded once."""

import pytest
import torch
from mmcv.ops import (
    DeformRoIPool,
    RoIAlign,
    deform_conv2d,
    modulated_deform_conv2d,
    nms,
    nms_match,
    soft_nms,
)
from torch import Tensor

from mmkd.ops.precision import at_least_float32

pytestmark = pytest.mark.usefixtures('mmkd_operators')
HALVES = [torch.bfloat16, torch.float16]
REGIONS = torch.tensor([[0, 3.3, 5, 70.1, 41], [1, -9, 0.7, 130.2, 30]])
# By name: a function of tensors, the shapes of those that need a gradient, and further arguments.
LAYERS = dict(
    roi_align=(RoIAlign((5, 7), 1 / 8, 2), [(2, 3, 17, 23)], [REGIONS]),
    deform_roi_pool=(
        lambda features, offset, rois: DeformRoIPool((3, 4), 1 / 8, 2)(features, rois, offset),
        [(2, 3, 17, 23), (2, 2, 3, 4)],
        [REGIONS],
    ),
    deform_conv=(
        lambda *inputs: deform_conv2d(*inputs, 1, 1),
        [(2, 4, 9, 9), (2, 18, 9, 9), (5, 4, 3, 3)],
        [],
    ),
    modulated_deform_conv=(
        lambda *inputs: modulated_deform_conv2d(*inputs, 1, 1),
        [(2, 4, 9, 9), (2, 18, 9, 9), (2, 9, 9, 9), (5, 4, 3, 3), (5,)],
        [],
    ),
)


def test_at_least_float32_widens_half_precision_alone():
    kinds = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    widened = at_least_float32(*(torch.tensor([1.5], dtype=kind) for kind in kinds))
    assert [x.dtype for x in widened] == [torch.float32] * 3 + [torch.float64]
    assert [x.item() for x in widened] == [1.5] * 4


def output_and_gradients(name: str, rounded_to: torch.dtype, kind: torch.dtype) -> list[Tensor]:
    layer, shapes, others = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator).to(rounded_to).to(kind) for shape in shapes]
    output = layer(
        *(x.requires_grad_() for x in inputs), *(x.to(rounded_to).to(kind) for x in others)
    )
    upstream = torch.randn(output.shape, generator=generator).to(rounded_to).to(kind)
    return [output.detach(), *torch.autograd.grad(output, inputs, upstream)]


@pytest.mark.parametrize('half', HALVES)
@pytest.mark.parametrize('name', LAYERS)
def test_layers_give_what_float32_gives_for_the_same_inputs(name, half):
    results = output_and_gradients(name, half, half)
    expected = output_and_gradients(name, half, torch.float32)
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype == half
        error = torch.linalg.vector_norm(result.float() - wanted)
        assert error < torch.finfo(half).eps * torch.linalg.vector_norm(wanted)


@pytest.mark.parametrize('half', HALVES)
def test_suppression_keeps_the_boxes_that_float32_keeps(half):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(40, 2, 2, generator=generator).sort(1).values.flatten(1) * 900
    scores = torch.randperm(40, generator=generator) / 40
    boxes, scores = boxes.to(half), scores.to(half)
    for suppress in (nms, soft_nms):
        kept = suppress(boxes, scores, 0.3)[1]
        assert torch.equal(kept, suppress(boxes.float(), scores.float(), 0.3)[1])
    assert 1 < len(nms(boxes, scores, 0.3)[1]) < 40
    together = torch.cat([boxes, scores[:, None]], 1)
    assert nms_match(together, 0.3)[0].tolist() == nms_match(together.float(), 0.3)[0].tolist()
