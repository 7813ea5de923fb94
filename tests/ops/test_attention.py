"""Attention maps: worked cases, and gradients where a naive formula has none."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.errors import UserError
from mmkd.ops.attention import attention_map, map_distance, normalise_map

# Two channels of a 1x3 map.
FEATURE = torch.tensor([[[[1.0, -2.0, 0.0]], [[-3.0, 1.0, 0.5]]]], dtype=torch.float64)
quick = settings(max_examples=40, deadline=None)


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    'mapping, p, expected',
    [
        ('sum', 1, [4, 3, 0.5]),
        ('sum', 2, [10, 5, 0.25]),
        ('sum', 3, [28, 9, 0.125]),
        ('sum', 4, [82, 17, 0.0625]),
        ('max', 1, [3, 2, 0.5]),
        ('max', 2, [9, 4, 0.25]),
    ],
)
def test_attention_map_equals_hand_value(mapping, p, expected):
    result = attention_map(FEATURE, mapping, p)
    torch.testing.assert_close(result, torch.tensor([[expected]], dtype=torch.float64))


def test_normalise_map_equals_hand_value():
    q = torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]], [[0.0, 0.0]]], dtype=torch.float64)
    expected = torch.tensor([[[0.6, 0.8]], [[0, 1]], [[0, 0]]], dtype=torch.float64)
    torch.testing.assert_close(normalise_map(q), expected, rtol=0, atol=1e-8)
    # eps is added to the norm: 5 + 5 halves the first map.
    torch.testing.assert_close(normalise_map(q, eps=5.0)[0], expected[0] / 2)


def test_map_distance_equals_hand_values():
    # Differences (3, 4) and (0, 12): norms 5 and 12, all together 13.
    a = torch.tensor([[[4.0, 6.0]], [[1.0, 13.0]]])
    b = torch.tensor([[[1.0, 2.0]], [[1.0, 1.0]]])
    assert map_distance(a, b, 'l2_batch').item() == pytest.approx(13 / 2)
    assert map_distance(a, b, 'l2').item() == pytest.approx((5 + 12) / 2)
    assert map_distance(a, b, 'mse').item() == pytest.approx((9 + 16 + 144) / 4)


@quick
@given(st.floats(1e-2, 1e4), st.sampled_from(['sum', 'max']), st.sampled_from([1, 2, 3, 4]))
def test_normalise_map_ignores_scale(scale, mapping, p):
    x = rand(2, 3, 4, 5)
    expected = normalise_map(attention_map(x, mapping, p), eps=1e-30)
    result = normalise_map(attention_map(scale * x, mapping, p), eps=1e-30)
    torch.testing.assert_close(result, expected)
    norms = torch.linalg.vector_norm(result, dim=(1, 2))
    torch.testing.assert_close(norms, torch.ones_like(norms))


@pytest.mark.parametrize('mapping', ['sum', 'max'])
@pytest.mark.parametrize('p', [1, 1.5, 2, 3, 4])
def test_attention_map_passes_gradcheck(mapping, p):
    x = rand(2, 3, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: normalise_map(attention_map(x, mapping, p)), x)


@pytest.mark.parametrize('distance', ['l2_batch', 'l2', 'mse'])
def test_map_distance_passes_gradcheck(distance):
    a, b = rand(2, 3, 4).requires_grad_(), rand(2, 3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: map_distance(a, b, distance), (a, b))


@pytest.mark.parametrize('distance', ['l2_batch', 'l2', 'mse'])
def test_map_distance_of_equal_maps_is_zero_with_zero_gradient(distance):
    a = rand(2, 3, 4).requires_grad_()
    value = map_distance(a, a.detach().clone(), distance)
    value.backward()
    assert value == 0
    assert (a.grad == 0).all()


@pytest.mark.parametrize('mapping', ['sum', 'max'])
@pytest.mark.parametrize('p', [1, 1.5, 2, 4])
@pytest.mark.parametrize('distance', ['l2_batch', 'l2', 'mse'])
@pytest.mark.parametrize('value', [0.0, 1.0, 1e4, 1e-6])
def test_attention_map_degenerate_features_have_finite_gradients(mapping, p, distance, value):
    # 256 channels of 1e4 to the 4th power: a map float32 holds, its square one it does not.
    x = torch.full((2, 256, 8, 8), value, requires_grad=True)
    a = normalise_map(attention_map(x, mapping, p))
    loss = map_distance(a, torch.ones_like(a), distance)
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()
    if value >= 1:  # a constant map of 64 pixels has norm 1 at 1 / 8 a pixel
        torch.testing.assert_close(a, torch.full_like(a, 1 / math.sqrt(64)))


@pytest.mark.parametrize('mapping', ['sum', 'max'])
def test_attention_map_gradient_is_differentiable(mapping):
    x = rand(2, 3, 2, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: attention_map(x, mapping), x)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_attention_map_of_squares_allocates_only_the_map(memory_format):
    x = torch.randn(2, 64, 32, 32).to(memory_format=memory_format).requires_grad_()
    kept = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),
        torch.profiler.profile(profile_memory=True) as profile,
    ):
        q = attention_map(x)
    allocated = sum(max(0, event.self_cpu_memory_usage) for event in profile.events())
    assert allocated <= 1.1 * q.nbytes
    assert [t.data_ptr() for t in kept] == [x.data_ptr()]


def test_attention_map_max_saves_only_the_input():
    x = torch.randn(2, 64, 32, 32, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        attention_map(x, 'max')
    large = {t.data_ptr() for t in kept if t.numel() == x.numel()}
    assert large <= {x.data_ptr()}


def test_attention_map_non_contiguous_input_equals_contiguous():
    x = rand(2, 3, 4, 5)
    torch.testing.assert_close(attention_map(x.mT), attention_map(x).mT)


@pytest.mark.parametrize(
    'call, said',
    [
        (lambda: attention_map(FEATURE, 'mean'), "mapping='mean'.*sum, max"),
        (lambda: attention_map(FEATURE, p=0.5), 'p=0.5: .*>= 1'),
        (lambda: attention_map(FEATURE, p='2'), "p='2'"),
        (lambda: attention_map(FEATURE[0]), r'\(2, 1, 3\)'),
        (lambda: map_distance(FEATURE[0], FEATURE[0], 'l1'), "distance='l1'.*l2_batch, l2, mse"),
        (lambda: map_distance(FEATURE[0], FEATURE[0, :1]), 'one shape'),
    ],
)
def test_attention_map_bad_arguments_raise_user_error(call, said):
    with pytest.raises(UserError, match=said):
        call()
