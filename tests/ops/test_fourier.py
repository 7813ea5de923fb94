"""Filters and resampling against the definition: the full complex transform, the long way."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmkd.errors import UserError
from mmkd.ops import fourier
from mmkd.ops.fourier import (
    fourier_resize,
    frequency_filter,
    frequency_grid,
    frequency_mask,
    low_pass,
)

KINDS = ('gaussian', 'ideal', 'butterworth')
lengths = st.integers(1, 9)
sizes = st.tuples(lengths, lengths)
cutoffs = st.sampled_from([0.1, 0.25, 0.5, 1.0])
quick = settings(max_examples=80, deadline=None)


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def low_pass_gain(kind, radius, cutoff):
    if kind == 'gaussian':
        return math.exp(-(radius**2) / (2 * cutoff**2))
    if kind == 'ideal':
        return float(radius <= cutoff + 1e-12)
    return 1 / (1 + (radius / cutoff) ** 4)


def long_mask(shape, low, high, cutoff, kind):
    """Full mask (H, W) with the zero frequency in the middle, bin by bin."""
    height, width = shape
    mask = torch.empty(height, width, dtype=torch.float64)
    for i, ky in enumerate(range(-(height // 2), height - height // 2)):
        for j, kx in enumerate(range(-(width // 2), width - width // 2)):
            radius = math.hypot(ky / (height / 2), kx / (width / 2))
            gain = low_pass_gain(kind, radius, cutoff)
            mask[i, j] = low * gain + high * (1 - gain)
    return mask


def long_filter(x, full_mask):
    axes = (-2, -1)
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=axes)
    result = torch.fft.ifft2(torch.fft.ifftshift(spectrum * full_mask, dim=axes))
    assert result.imag.abs().max() < 1e-12
    return result.real


def resize_matrix(n, m):
    """Fourier series of n samples, cut at both Nyquists, evaluated on m samples."""
    result = torch.zeros(m, n, dtype=torch.complex128)
    for k in range(-(n // 2), n // 2 + 1):
        if abs(k) > m / 2:
            continue
        weight = 0.5 if n % 2 == 0 and abs(k) == n // 2 else 1.0
        analysis = torch.exp(-2j * math.pi * k / n * torch.arange(n, dtype=torch.float64)) / n
        synthesis = torch.exp(2j * math.pi * k / m * torch.arange(m, dtype=torch.float64))
        result += weight * synthesis[:, None] * analysis[None, :]
    assert result.imag.abs().max() < 1e-12
    return result.real


def long_resize(x, size):
    return resize_matrix(x.shape[-2], size[0]) @ x @ resize_matrix(x.shape[-1], size[1]).T


def test_frequency_grid_is_in_fractions_of_nyquist():
    rows, columns = frequency_grid((4, 5))
    assert rows.flatten().tolist() == [0, 0.5, -1, -0.5]
    assert columns.flatten().tolist() == pytest.approx([0, 0.4, 0.8])


def test_frequency_mask_low_pass_equals_hand_value():
    # 4x8: bin (1, 2) lies at (1/2, 2/4), radius sqrt(1/2); (0, 4) and (2, 0) lie at Nyquist.
    gaussian = low_pass((4, 8), 0.5, 'gaussian', dtype=torch.float64)
    assert gaussian[0, 0] == 1
    assert gaussian[1, 2].item() == pytest.approx(math.exp(-0.5 / (2 * 0.25)))
    assert gaussian[0, 4].item() == gaussian[2, 0].item() == pytest.approx(math.exp(-2))
    butterworth = low_pass((4, 8), 0.5, 'butterworth', dtype=torch.float64)
    assert butterworth[0, 2].item() == pytest.approx(0.5)
    assert butterworth[0, 4].item() == pytest.approx(1 / 17)
    ideal = low_pass((4, 8), 0.5, 'ideal')
    assert ideal.tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0] * 5, [1, 0, 0, 0, 0]]


@pytest.mark.parametrize('n', [10, 12, 20, 30, 60])
def test_frequency_mask_ideal_includes_cutoff(n):
    for k in range(1, n // 2 + 1):
        assert low_pass((1, n), k / (n / 2), 'ideal')[0].sum() == k + 1


@quick
@given(sizes, cutoffs, st.sampled_from(KINDS), st.floats(0, 2), st.floats(0.01, 2))
def test_frequency_filter_equals_complex_transform(shape, cutoff, kind, low, high):
    x = rand(2, *shape)
    mask = frequency_mask(shape, low, high, cutoff, kind, dtype=torch.float64)
    expected = long_filter(x, long_mask(shape, low, high, cutoff, kind))
    torch.testing.assert_close(frequency_filter(x, mask), expected)


@quick
@given(sizes, cutoffs, st.sampled_from(KINDS))
def test_frequency_filter_low_plus_high_pass_is_input(shape, cutoff, kind):
    x = rand(3, *shape)
    parts = [
        frequency_filter(x, frequency_mask(shape, *gains, cutoff, kind, dtype=x.dtype))
        for gains in ((1, 0), (0, 1))
    ]
    torch.testing.assert_close(parts[0] + parts[1], x)


def test_frequency_mask_kinds_differ_and_keep_the_mean():
    x = rand(1, 12, 9) + 3
    low = [frequency_filter(x, low_pass((12, 9), 0.3, kind, dtype=x.dtype)) for kind in KINDS]
    for result in low:
        torch.testing.assert_close(result.mean(), x.mean())
    assert all((low[i] - low[j]).abs().max() > 1e-2 for i, j in ((0, 1), (0, 2), (1, 2)))


@quick
@given(sizes, sizes)
@example((9, 9), (4, 4))
@example((4, 4), (9, 9))
@example((8, 8), (4, 4))
def test_fourier_resize_equals_truncated_series(source, target):
    x = rand(2, *source)
    torch.testing.assert_close(fourier_resize(x, target), long_resize(x, target))


@pytest.mark.parametrize('target', [(5, 4), (12, 4), (9, 14)])
def test_fourier_resize_any_memory_layout_is_equal_and_passes_gradcheck(target):
    x = torch.randn(2, 3, 8, 7, dtype=torch.float64)
    expected = fourier_resize(x, target)
    for layout in (x.to(memory_format=torch.channels_last), x.mT.contiguous().mT):
        torch.testing.assert_close(fourier_resize(layout, target), expected)
    assert torch.autograd.gradcheck(
        lambda v: fourier_resize(v, target),
        x.to(memory_format=torch.channels_last).requires_grad_(),
    )


@quick
@given(sizes, sizes)
def test_fourier_resize_down_and_up_keeps_band_limited_input(one, other):
    small, large = tuple(map(min, one, other)), tuple(map(max, one, other))
    x = rand(2, *small)
    band_limited = fourier_resize(x, large)
    torch.testing.assert_close(fourier_resize(band_limited, small), x)
    down_up = fourier_resize(fourier_resize(band_limited, small), large)
    torch.testing.assert_close(down_up, band_limited)


@pytest.mark.parametrize('source', [(8, 12), (7, 9), (8, 9)])
@pytest.mark.parametrize('target', [(4, 6), (5, 7), (4, 7), (16, 5), (15, 25), (8, 9)])
def test_fourier_resize_of_constants_and_cosines_is_exact(source, target):
    def wave(shape, ky, kx, phase):
        y = torch.arange(shape[0], dtype=torch.float64)[:, None] / shape[0]
        x = torch.arange(shape[1], dtype=torch.float64)[None, :] / shape[1]
        return torch.cos(2 * math.pi * (ky * y + kx * x) + phase)

    torch.testing.assert_close(fourier_resize(wave(source, 0, 0, 0), target), wave(target, 0, 0, 0))
    # Below both Nyquists any phase is kept; at the smaller one only the cosine is representable.
    torch.testing.assert_close(
        fourier_resize(wave(source, 1, -2, 0.7), target), wave(target, 1, -2, 0.7)
    )
    ky, kx = min(source[0], target[0]) // 2, min(source[1], target[1]) // 2
    torch.testing.assert_close(
        fourier_resize(wave(source, ky, 0, 0), target), wave(target, ky, 0, 0)
    )
    torch.testing.assert_close(
        fourier_resize(wave(source, 0, kx, 0), target), wave(target, 0, kx, 0)
    )


@quick
@given(sizes, sizes, cutoffs)
def test_frequency_filter_with_size_equals_resize_then_filter(source, target, cutoff):
    x = rand(2, *source)
    mask = frequency_mask(target, 0.3, 0.7, cutoff, dtype=x.dtype)
    expected = frequency_filter(long_resize(x, target), mask)
    torch.testing.assert_close(frequency_filter(x, mask, target), expected)


@quick
@given(sizes, sizes, st.booleans())
@example((9, 9), (4, 4), True)
@example((4, 4), (9, 9), True)
def test_frequency_filter_gradient_is_the_adjoint(source, target, masked):
    x, y = rand(2, *source).requires_grad_(), rand(2, *target, seed=1)
    mask = frequency_mask(target, 0.3, 0.7, 0.5, dtype=x.dtype) if masked else None
    (grad,) = torch.autograd.grad((frequency_filter(x, mask, target) * y).sum(), x)
    filtered = y if mask is None else long_filter(y, long_mask(target, 0.3, 0.7, 0.5, 'gaussian'))
    rows, columns = resize_matrix(source[0], target[0]), resize_matrix(source[1], target[1])
    torch.testing.assert_close(grad, rows.T @ filtered @ columns)


@pytest.mark.parametrize('source, target', [((4, 6), (4, 6)), ((5, 6), (4, 3)), ((3, 4), (6, 5))])
def test_frequency_filter_passes_gradgradcheck(source, target):
    x = rand(1, 2, *source).requires_grad_()
    mask = frequency_mask(target, 0.2, 0.9, 0.5, dtype=x.dtype)
    assert torch.autograd.gradcheck(lambda x: frequency_filter(x, mask, target), x)
    assert torch.autograd.gradgradcheck(lambda x: frequency_filter(x, mask, target).pow(3), x)


def test_frequency_filter_chunks_and_strides_equal_whole(monkeypatch):
    x = rand(3, 5, 6, 7).requires_grad_()
    mask = frequency_mask((4, 5), 1, 0, 0.5, dtype=x.dtype)
    whole = frequency_filter(x, mask, (4, 5))
    (grad,) = torch.autograd.grad(whole.square().sum(), x)
    monkeypatch.setattr(fourier, '_CPU_CHUNK', 2 * 6 * 7)
    chunked = frequency_filter(x, mask, (4, 5))
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(torch.autograd.grad(chunked.square().sum(), x)[0], grad)
    last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(frequency_filter(last, mask, (4, 5)), whole)


def test_frequency_filter_under_autocast_computes_in_float32():
    x = rand(2, 3, 8, 9)
    mask = frequency_mask((8, 9), 1, 0, 0.5)
    assert frequency_filter(x, mask).dtype == torch.float64
    expected = frequency_filter(x.bfloat16().float(), mask)
    with torch.autocast('cpu', torch.bfloat16):
        result = frequency_filter(x.bfloat16(), mask)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected)
    assert fourier_resize(x.half(), (4, 4)).dtype == torch.float32


def test_frequency_mask_cache_survives_inference_mode():
    fourier._cached_mask.cache_clear()
    with torch.inference_mode():
        mask = frequency_mask((6, 7), 1, 0, 0.5)
    assert mask is frequency_mask([6, 7], 1.0, 0.0, 0.5)
    assert mask is not frequency_mask((6, 7), 1, 0, 0.5, 'ideal')
    assert mask is not frequency_mask((6, 7), 1, 0, 0.5, dtype=torch.float64)
    assert not mask.is_inference() and not mask.requires_grad
    x = torch.randn(2, 6, 7, requires_grad=True)
    (frequency_filter(x, mask) * mask.sum()).sum().backward()
    assert x.grad.isfinite().all()
    assert fourier._cached_mask.cache_info().maxsize is not None


@pytest.mark.parametrize(
    'arguments, said',
    [
        (dict(low=-1), 'low=-1'),
        (dict(high=float('nan')), 'high=nan'),
        (dict(low=True), 'low=True'),
        (dict(low=0, high=0), 'low=0, high=0'),
        (dict(cutoff=0), r'cutoff=0: .*\(0, 1\]'),
        (dict(cutoff=1.5), r'cutoff=1.5: .*\(0, 1\]'),
        (dict(kind='box'), "filter='box'.*gaussian, ideal, butterworth"),
        (dict(shape=(0, 4)), r'shape=\(0, 4\)'),
    ],
)
def test_frequency_mask_bad_arguments_raise_user_error(arguments, said):
    with pytest.raises(UserError, match=said):
        frequency_mask(**(dict(shape=(4, 4), low=1, high=0, cutoff=0.5) | arguments))


def test_frequency_filter_bad_arguments_raise_user_error():
    x = torch.zeros(2, 4, 6)
    with pytest.raises(UserError, match=r'\(4, 6\).*\(4, 4\)'):
        frequency_filter(x, torch.ones(4, 6))
    with pytest.raises(UserError, match='gradient'):
        frequency_filter(x, torch.ones(4, 4, requires_grad=True))
    with pytest.raises(UserError, match='real'):
        frequency_filter(x, torch.ones(4, 4, dtype=torch.complex64))
    with pytest.raises(UserError, match='real tensor'):
        frequency_filter(x[0, 0], None)
    with pytest.raises(UserError, match=r'size=\(0, 2\)'):
        fourier_resize(x, (0, 2))
