"""Lean cross-entropy: the values and gradients of the plain path."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.ops import row_upsampling
from mmkd.ops import upsampled_cross_entropy as module
from mmkd.ops.upsampled_cross_entropy import (
    upsampled_accuracy,
    upsampled_cross_entropy,
    upsampled_cross_entropy_reference,
)

IGNORED = 255
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


@pytest.fixture(autouse=True)
def many_pieces(monkeypatch):
    """Pieces of a few rows, also at the small sizes of these tests."""
    monkeypatch.setattr(module, '_SMALL', 0)
    monkeypatch.setattr(row_upsampling, '_CPU_PIECE', 256)


def make_batch(samples, classes, source, target, ignored=0.1, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(samples, classes, *source, generator=generator, dtype=dtype)
    labels = torch.randint(classes, (samples, *target), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = IGNORED
    return logits.to(DEVICE).requires_grad_(), labels.to(DEVICE)


def value_and_gradient(loss, logits, *args, **options):
    value = loss(logits, *args, **options)
    return value.detach(), torch.autograd.grad(3 * value, logits)[0]


def assert_same(found, expected, tolerance=1e-6):
    """Compare value and gradient, the gradient by its norm."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        assert one.isfinite().all()
        assert (one - other).norm() <= tolerance * other.norm() + 1e-12


sides = st.tuples(st.integers(1, 9), st.integers(1, 9))
shapes = dict(
    samples=st.integers(1, 3),
    classes=st.integers(2, 7),
    source=sides,
    target=st.tuples(st.integers(1, 37), st.integers(1, 37)),
    ignored=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    align_corners=st.booleans(),
    seed=st.integers(0, 99),
)


@settings(max_examples=100)
@given(avg_non_ignore=st.booleans(), weighted=st.booleans(), **shapes)
@example(
    samples=2, classes=3, source=(4, 4), target=(33, 31), ignored=0.1, align_corners=True, seed=0,
    avg_non_ignore=True, weighted=True,
)  # fmt: skip
def test_loss_equals_reference(
    samples, classes, source, target, ignored, align_corners, seed, avg_non_ignore, weighted
):
    logits, labels = make_batch(samples, classes, source, target, ignored, seed)
    options = dict(
        class_weight=torch.linspace(0.2, 3, classes) if weighted else None,
        avg_non_ignore=avg_non_ignore,
        align_corners=align_corners,
    )
    double = logits.detach().double().requires_grad_()
    exact = value_and_gradient(upsampled_cross_entropy_reference, double, labels, **options)
    assert_same(
        value_and_gradient(upsampled_cross_entropy, double, labels, **options), exact, 1e-12
    )
    # In float32 the plain path itself rounds: p - 1 loses digits where p is close to 1.
    plain = value_and_gradient(upsampled_cross_entropy_reference, logits, labels, **options)
    lean = value_and_gradient(upsampled_cross_entropy, logits, labels, **options)
    for one, other, expected in zip(lean, plain, exact, strict=True):
        error, rounding = ((x - expected).norm() for x in (one, other))
        assert error <= 1e-6 * expected.norm() + 2 * rounding


@pytest.mark.parametrize('stride', [1, 2, 4, 8])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_loss_real_pieces_equals_reference(monkeypatch, stride, memory_format):
    monkeypatch.undo()  # the pieces that users have
    logits, labels = make_batch(2, 19, (128 // stride, 192 // stride), (128, 192))
    logits = logits.detach().contiguous(memory_format=memory_format).requires_grad_()
    found, expected = (
        value_and_gradient(loss, logits, labels)
        for loss in (upsampled_cross_entropy, upsampled_cross_entropy_reference)
    )
    assert_same(found, expected)


def test_loss_by_hand():
    # One logit, everywhere the same: three classes of equal probability cost log 3.
    logits = torch.zeros(1, 3, 1, 1, device=DEVICE, requires_grad=True)
    labels = torch.tensor([[[0, 1], [2, IGNORED]]], device=DEVICE)
    log3 = torch.tensor(3.0, device=DEVICE).log()
    torch.testing.assert_close(upsampled_cross_entropy(logits, labels), log3)
    all_pixels = upsampled_cross_entropy(logits, labels, avg_non_ignore=False)
    torch.testing.assert_close(all_pixels, 0.75 * log3)
    # d/dlogit of class 0: (3 pixels / 3 - 1 pixel) / 3 = 0
    (gradient,) = torch.autograd.grad(upsampled_cross_entropy(logits, labels), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize('ignored', [0.0, 0.3])
def test_loss_weighted_equals_pytorch_weighted_mean(ignored):
    logits, labels = make_batch(2, 5, (4, 6), (4, 6), ignored)
    weight = torch.tensor([0.5, 1, 3, 2, 0.1], device=DEVICE)
    expected = functional.cross_entropy(logits, labels, weight, ignore_index=IGNORED)
    for avg_non_ignore in (False, True):
        for loss in (upsampled_cross_entropy, upsampled_cross_entropy_reference):
            found = loss(logits, labels, weight, avg_non_ignore=avg_non_ignore)
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_loss_gradcheck():
    logits, labels = make_batch(2, 3, (3, 4), (7, 9), dtype=torch.float64)
    weight = torch.tensor([0.5, 1, 2], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: upsampled_cross_entropy(x, labels, weight), logits)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_loss_autocast_equals_float32(dtype):
    logits, labels = make_batch(2, 5, (6, 8), (24, 32))
    logits = logits.detach().to(dtype).requires_grad_()
    with torch.autocast(DEVICE, dtype):
        value = upsampled_cross_entropy(logits, labels)
    assert value.dtype == torch.float32
    wide = logits.detach().float().requires_grad_()
    expected = value_and_gradient(upsampled_cross_entropy_reference, wide, labels)
    found = (value.detach(), torch.autograd.grad(3 * value, logits)[0])
    assert found[1].dtype == dtype
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(found[1], expected[1].to(dtype))


def test_loss_short_products_stay_exact():
    # `medium` lets PyTorch multiply float32 matrices in bfloat16.
    logits, labels = make_batch(2, 5, (6, 8), (25, 31))
    expected = value_and_gradient(upsampled_cross_entropy_reference, logits, labels)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('medium')
    try:
        assert_same(value_and_gradient(upsampled_cross_entropy, logits, labels), expected)
        assert torch.get_float32_matmul_precision() == 'medium'
    finally:
        torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize('backend', ['cuda', 'mkldnn'])
def test_loss_keeps_the_precision_of_pytorchs_newer_setting(backend):
    # After this setting PyTorch's older functions for it raise an error.
    logits, labels = make_batch(2, 5, (6, 8), (25, 31))
    expected = value_and_gradient(upsampled_cross_entropy_reference, logits, labels)
    matmul = getattr(torch.backends, backend).matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = 'tf32'
    try:
        assert_same(value_and_gradient(upsampled_cross_entropy, logits, labels), expected)
        assert matmul.fp32_precision == 'tf32'
    finally:
        matmul.fp32_precision = before


def test_loss_large_logits_stay_finite():
    logits, labels = make_batch(1, 3, (4, 4), (16, 16))
    logits = (1e5 * logits).detach().requires_grad_()
    expected = value_and_gradient(upsampled_cross_entropy_reference, logits, labels)
    assert_same(value_and_gradient(upsampled_cross_entropy, logits, labels), expected)


def test_loss_nan_reaches_value():
    logits, labels = make_batch(1, 3, (4, 4), (16, 16), ignored=0)
    with torch.no_grad():
        logits[0, 0, 0, 0] = torch.nan
    assert upsampled_cross_entropy(logits, labels).isnan()


def test_loss_compiles():
    logits, labels = make_batch(1, 3, (4, 4), (16, 16))

    def doubled(x, labels):
        return upsampled_cross_entropy(2 * x, labels)

    compiled = torch.compile(doubled, backend='eager')
    assert_same(
        value_and_gradient(compiled, logits, labels), value_and_gradient(doubled, logits, labels)
    )


def test_loss_without_gradient_has_no_graph():
    logits, labels = make_batch(1, 3, (4, 4), (16, 16))
    with torch.no_grad():
        assert not upsampled_cross_entropy(logits, labels).requires_grad
    assert not upsampled_cross_entropy(logits.detach(), labels).requires_grad


def test_loss_second_derivative_is_rejected():
    logits, labels = make_batch(1, 3, (4, 4), (16, 16))
    value = upsampled_cross_entropy(logits, labels)
    (gradient,) = torch.autograd.grad(value, logits, create_graph=True)
    with pytest.raises(UserError, match='no second derivative; use its reference') as raised:
        gradient.square().sum().backward()
    assert '\n' not in str(raised.value)


def test_reference_second_derivative_gradgradcheck():
    logits, labels = make_batch(1, 3, (2, 2), (5, 4), dtype=torch.float64)
    assert torch.autograd.gradgradcheck(
        lambda x: upsampled_cross_entropy_reference(x, labels), logits
    )


@pytest.mark.skipif(DEVICE == 'cuda', reason='a GPU ends the process')
def test_loss_unknown_label_is_rejected():
    logits, labels = make_batch(1, 3, (4, 4), (16, 16))
    labels[0, 5, 5] = 3
    with pytest.raises((RuntimeError, IndexError), match='3 is out of bounds'):
        upsampled_cross_entropy(logits, labels)


@settings(max_examples=30)
@given(**shapes)
def test_accuracy_equals_mmsegmentation(
    samples, classes, source, target, ignored, align_corners, seed
):
    from mmseg.models.losses import accuracy

    logits, labels = make_batch(samples, classes, source, target, ignored, seed)
    logits = logits.detach()
    full = functional.interpolate(
        logits, labels.shape[1:], mode='bilinear', align_corners=align_corners
    )
    torch.testing.assert_close(
        upsampled_accuracy(logits, labels, IGNORED, align_corners),
        accuracy(full, labels, ignore_index=IGNORED),
    )
