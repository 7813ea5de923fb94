"""Divergences at the label's resolution: those of the upsampled logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.ops import row_upsampling
from mmkd.ops.divergence import channel_divergence, pixel_divergence
from mmkd.ops.upsampled_divergence import (
    upsampled_channel_divergence,
    upsampled_pixel_divergence,
)


@pytest.fixture(autouse=True)
def many_pieces(monkeypatch):
    monkeypatch.setattr(row_upsampling, '_CPU_PIECE', 256)


def rand(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=dtype)


def upsample(x, size):
    return functional.interpolate(x, size, mode='bilinear')


def assert_same(found, expected, student):
    """Compare two values and their gradients."""
    pairs = zip(
        (found, torch.autograd.grad(found, student)[0]),
        (expected, torch.autograd.grad(expected, student)[0]),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
cases = given(
    samples=st.integers(1, 2),
    channels=st.integers(2, 5),
    source=sizes,
    teacher_source=sizes,
    size=st.tuples(st.integers(2, 29), st.integers(2, 29)),
    tau=st.sampled_from([0.5, 1.0, 4.0]),
    seed=st.integers(0, 99),
)


@settings(max_examples=50)
@cases
def test_pixel_divergence_equals_full_size(
    samples, channels, source, teacher_source, size, tau, seed
):
    student = rand(samples, channels, *source, seed=seed).requires_grad_()
    teacher = rand(samples, channels, *teacher_source, seed=seed + 1)
    mask = torch.rand(samples, *size, generator=torch.Generator().manual_seed(seed)) < 0.8
    found = upsampled_pixel_divergence(student, teacher, mask, tau)
    full = pixel_divergence(upsample(student, size), upsample(teacher, size), tau)
    expected = (full * mask).sum() / mask.sum().clamp(min=1)
    assert_same(found, expected, student)


@settings(max_examples=50)
@cases
def test_channel_divergence_equals_full_size(
    samples, channels, source, teacher_source, size, tau, seed
):
    student = rand(samples, channels, *source, seed=seed).requires_grad_()
    teacher = rand(samples, channels, *teacher_source, seed=seed + 1)
    found = upsampled_channel_divergence(student, teacher, size, tau)
    full = channel_divergence(upsample(student, size), upsample(teacher, size), tau)
    assert_same(found, full.mean(), student)


def test_divergence_passes_gradcheck():
    student = rand(2, 3, 2, 3).requires_grad_()
    teacher = rand(2, 3, 3, 2, seed=1)
    mask = torch.ones(2, 5, 7, dtype=torch.bool)
    mask[0, :2] = False
    for loss in (
        lambda x: upsampled_pixel_divergence(x, teacher, mask, 2.0),
        lambda x: upsampled_channel_divergence(x, teacher, (5, 7), 2.0),
    ):
        assert torch.autograd.gradcheck(loss, student)


def test_pixel_divergence_empty_mask_is_zero():
    student = rand(1, 3, 4, 4).requires_grad_()
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    value = upsampled_pixel_divergence(student, rand(1, 3, 4, 4, seed=1), mask)
    value.backward()
    assert value == 0 and not student.grad.any()


def test_divergence_second_derivative_is_rejected():
    student = rand(1, 3, 4, 4).requires_grad_()
    value = upsampled_channel_divergence(student, rand(1, 3, 4, 4, seed=1), (8, 8))
    (gradient,) = torch.autograd.grad(value, student, create_graph=True)
    with pytest.raises(UserError, match='no second derivative'):
        gradient.square().sum().backward()
