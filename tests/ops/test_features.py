"""The common ground of two features: types, checks and grids."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmkd.errors import UserError
from mmkd.ops.features import cast_feature_pair, common_size, normalize_channels, resize


@pytest.mark.parametrize(
    'student, teacher, expected',
    [
        (torch.float16, torch.bfloat16, torch.float32),
        (torch.float32, torch.float16, torch.float32),
        (torch.bfloat16, torch.float64, torch.float64),
    ],
)
def test_cast_feature_pair_gives_one_dtype_and_detaches_teacher(student, teacher, expected):
    student = torch.ones(1, 2, 2, 2, dtype=student, requires_grad=True)
    teacher = torch.ones(1, 3, 2, 2, dtype=teacher, requires_grad=True)
    s, t = cast_feature_pair('X', student, teacher)
    assert s.dtype == t.dtype == expected
    assert s.requires_grad and not t.requires_grad


def test_resize_equals_hand_value():
    x = torch.tensor([[[[0.0, 2.0, 4.0, 6.0]]]])
    assert resize(x, (1, 2)).flatten().tolist() == [1, 5]
    assert resize(x, (1, 4)) is x
    small = torch.tensor([[[[0.0, 4.0]]]])
    assert resize(small, (1, 4)).flatten().tolist() == [0, 1, 3, 4]
    assert common_size(torch.ones(1, 2, 5, 3), torch.ones(4, 2, 7)) == (2, 3)


@pytest.mark.parametrize(
    'student, teacher, said',
    [
        ((1, 2, 2), (1, 2, 2, 2), r'X: student \(1, 2, 2\).*features \(B, C, H, W\)'),
        ((1, 2, 2, 2), (2, 2, 2, 2), 'X: .*one batch size'),
        ((1, 2, 2, 2), (1, 5, 2, 2), 'X: 2 student and 5.*`adapter`'),
    ],
)
def test_cast_feature_pair_bad_inputs_raise_user_error(student, teacher, said):
    with pytest.raises(UserError, match=said):
        cast_feature_pair('X', torch.ones(student), torch.ones(teacher), same_channels=True)


def test_cast_feature_pair_list_of_taps_is_rejected():
    x = torch.ones(1, 2, 2, 2)
    with pytest.raises(UserError, match='X: teacher is a tuple: expected one feature'):
        cast_feature_pair('X', x, (x, x))


@given(exponent=st.floats(-6, 6), sign=st.sampled_from([-1, 1]))
def test_normalize_channels_ignores_scale(exponent, sign):
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    normalised = normalize_channels(x)
    torch.testing.assert_close(
        normalize_channels(sign * 10**exponent * x), sign * normalised, rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(normalised.std((0, 2, 3), correction=0), torch.ones(3))
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-6)


@pytest.mark.parametrize('value', [0.0, 0.1, 1000.0, 1e6 + 0.1, -1e-3])
@pytest.mark.parametrize('side', [4, 61])
def test_normalize_channels_of_a_constant_channel_is_zero(value, side):
    x = torch.full((3, 2, side, side), value, requires_grad=True)
    normalised = normalize_channels(x)
    assert (normalised == 0).all()
    (normalised - torch.randn_like(normalised)).square().mean().backward()
    assert (x.grad == 0).all()


def test_normalize_channels_has_the_gradient_of_its_formula():
    def formula(x):
        mean = x.mean((0, 2, 3), keepdim=True)
        return (x - mean) / (x - mean).square().mean((0, 2, 3), keepdim=True).sqrt()

    x = 1e-5 * torch.randn(2, 3, 4, 4, dtype=torch.float64) + 2
    weight = torch.randn_like(x)
    gradients = [
        torch.autograd.grad((weight * normalise(y)).sum(), y)[0]
        for normalise in (normalize_channels, formula)
        for y in [x.clone().requires_grad_()]
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_normalize_channels_keeps_nan(value):
    x = torch.zeros(1, 2, 2, 2)
    x[0, 0, 0, 0] = value
    assert normalize_channels(x)[:, 0].isnan().any()
    assert (normalize_channels(x)[:, 1] == 0).all()
