"""Deformable operators of mmkd where mmcv has no compiled form on a CPU to compare with."""

import pytest
import torch
from mmcv.ops.deform_conv import deform_conv2d
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

pytestmark = pytest.mark.usefixtures('mmkd_operators')


def test_ms_deform_attn_equals_mmcv_values_and_gradients():
    shapes = torch.tensor([[4, 5], [2, 3]])
    starts = torch.tensor([0, 20])
    value = torch.randn(2, 26, 3, 4, requires_grad=True)
    locations = torch.rand(2, 7, 3, 2, 5, 2, requires_grad=True)
    weights = torch.rand(2, 7, 3, 2, 5, requires_grad=True)
    inputs = (value, locations, weights)
    output = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    expected = multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
    assert torch.equal(output, expected)
    upstream = torch.randn_like(output)
    for grad, other in zip(
        torch.autograd.grad(output, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        assert torch.equal(grad, other)


def test_deform_conv_without_offsets_is_a_convolution():
    features, weight = torch.randn(2, 4, 6, 7), torch.randn(3, 4, 3, 3, requires_grad=True)
    output = deform_conv2d(features, torch.zeros(2, 18, 6, 7), weight, 1, 1)
    expected = torch.nn.functional.conv2d(features, weight, padding=1)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    upstream = torch.randn_like(output)  # only the weight needs a gradient
    (grad,) = torch.autograd.grad(output, weight, upstream)
    (plain,) = torch.autograd.grad(expected, weight, upstream)
    torch.testing.assert_close(grad, plain, rtol=1e-4, atol=1e-5)


def test_deform_conv_weight_gradient_follows_a_second_backward_pass():
    features = torch.randn(1, 4, 5, 5, requires_grad=True)
    weight = torch.randn(3, 4, 3, 3, requires_grad=True)
    output = deform_conv2d(features, torch.randn(1, 18, 5, 5), weight, 1, 1)
    once = torch.autograd.grad(output.sum(), weight, retain_graph=True)[0]
    (2 * output).sum().backward()
    torch.testing.assert_close(weight.grad, 2 * once)
