"""Divergences: the definitions in loops, and worked cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.errors import UserError
from mmkd.ops.divergence import channel_divergence, masked_mean, pixel_divergence

BOTH = pytest.mark.parametrize('divergence', [pixel_divergence, channel_divergence])
quick = settings(max_examples=15, deadline=None)


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def divergence_of(student, teacher, tau):
    """tau^2 KL(teacher || student) of two lists of numbers, one by one."""

    def probabilities(values):
        exponentials = [math.exp(v / tau) for v in values]
        return [e / sum(exponentials) for e in exponentials]

    pairs = zip(probabilities(student), probabilities(teacher), strict=True)
    return tau**2 * sum(t * math.log(t / s) for s, t in pairs)


@quick
@given(st.integers(1, 3), st.integers(1, 4), st.sampled_from([0.5, 1, 4.0]))
def test_divergence_equals_definition(height, width, tau):
    student, teacher = rand(2, 3, height, width), 3 * rand(2, 3, height, width, seed=1)
    by_pixel = pixel_divergence(student, teacher, tau)
    by_channel = channel_divergence(student, teacher, tau)
    assert by_pixel.shape == (2, height, width) and by_channel.shape == (2, 3)
    for n in range(2):
        for c in range(3):
            sides = (student[n, c].flatten().tolist(), teacher[n, c].flatten().tolist())
            assert by_channel[n, c].item() == pytest.approx(divergence_of(*sides, tau), abs=1e-12)
        for y in range(height):
            for x in range(width):
                sides = (student[n, :, y, x].tolist(), teacher[n, :, y, x].tolist())
                assert by_pixel[n, y, x].item() == pytest.approx(divergence_of(*sides, tau))


def test_divergence_equals_hand_value():
    # The teacher gives 3/4 and 1/4, the student 1/2 each.
    teacher = torch.tensor([math.log(3), 0.0], dtype=torch.float64)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    student = torch.zeros(2, dtype=torch.float64)
    by_pixel = pixel_divergence(student.view(1, 2, 1, 1), teacher.view(1, 2, 1, 1))
    by_channel = channel_divergence(student.view(1, 1, 1, 2), teacher.view(1, 1, 1, 2))
    assert by_pixel.item() == pytest.approx(expected)
    assert by_channel.item() == pytest.approx(expected)
    # The same probabilities at tau = 2 are worth four times that.
    hot = pixel_divergence(student.view(1, 2, 1, 1), 2 * teacher.view(1, 2, 1, 1), tau=2)
    assert hot.item() == pytest.approx(4 * expected)


def test_divergence_ignores_offsets_before_softmax():
    student, teacher = rand(2, 3, 4, 5), rand(2, 3, 4, 5, seed=1)
    by_pixel = pixel_divergence(student + rand(2, 1, 4, 5), teacher)
    torch.testing.assert_close(by_pixel, pixel_divergence(student, teacher))
    by_channel = channel_divergence(student + rand(2, 3, 1, 1), teacher)
    torch.testing.assert_close(by_channel, channel_divergence(student, teacher))


@BOTH
def test_divergence_passes_gradcheck(divergence):
    student, teacher = rand(2, 3, 2, 3).requires_grad_(), rand(2, 3, 2, 3, seed=1)
    assert torch.autograd.gradcheck(lambda student: divergence(student, teacher, 2.0), student)


@BOTH
def test_divergence_of_certain_distributions_is_finite(divergence):
    # Probabilities of exp(-1e5) are 0 in any float type.
    student = torch.zeros(1, 2, 1, 2).index_fill_(1, torch.tensor(0), 1e5)
    student[0, 0, 0, 1] = -1e5
    teacher = -student
    student.requires_grad_()
    value = divergence(student, teacher).sum()
    value.backward()
    assert value.isfinite() and value > 1e4
    assert student.grad.isfinite().all()


def test_masked_mean_averages_chosen_values():
    values = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    masked_mean(values, torch.tensor([True, False, True])).backward()
    assert masked_mean(values, torch.tensor([True, False, True])).item() == 3.5
    assert values.grad.tolist() == [0.5, 0, 0.5]
    values.grad = None
    nothing = masked_mean(values, torch.zeros(3, dtype=torch.bool))
    nothing.backward()
    assert nothing.item() == 0 and values.grad.tolist() == [0, 0, 0]


@BOTH
@pytest.mark.parametrize('tau', [0, -1.0, float('inf'), float('nan'), True, '4'])
def test_divergence_bad_temperature_raises_user_error(divergence, tau):
    x = rand(1, 2, 2, 2)
    with pytest.raises(UserError, match='tau=.*> 0'):
        divergence(x, x, tau)


@BOTH
def test_divergence_bad_shapes_raise_user_error(divergence):
    with pytest.raises(UserError, match=r'\(1, 2, 2, 2\).*\(1, 3, 2, 2\).*one shape'):
        divergence(rand(1, 2, 2, 2), rand(1, 3, 2, 2))
