"""Channel-wise distillation: the paper's formula in a loop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.losses.cwd_loss import CWDLoss


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.5, 1, 4.0]))
def test_cwd_loss_value_equals_paper(channels, height, width, tau):
    student = rand(2, channels, height, width)
    teacher = 2 * rand(2, channels, height, width, seed=1)

    def phi(channel):
        exponentials = [math.exp(v / tau) for v in channel.flatten().tolist()]
        return [e / sum(exponentials) for e in exponentials]

    expected = 0
    for s, t in zip(student, teacher, strict=True):
        for c in range(channels):
            pairs = zip(phi(t[c]), phi(s[c]), strict=True)
            expected += tau**2 / channels * sum(a * math.log(a / b) for a, b in pairs) / 2
    loss = CWDLoss(tau)
    assert loss(student, teacher).item() == pytest.approx(expected, abs=1e-9)
    single = loss(student.float(), teacher.float())
    assert single.item() == pytest.approx(expected, rel=1e-5, abs=1e-6 * tau**2)


def test_cwd_loss_value_is_independent_of_size():
    student, teacher = rand(2, 3, 4, 5), rand(2, 3, 4, 5, seed=1)
    tiled = CWDLoss()(student.repeat(1, 1, 2, 3), teacher.repeat(1, 1, 2, 3))
    torch.testing.assert_close(tiled, CWDLoss()(student, teacher))


@pytest.mark.parametrize('swap', [False, True])
def test_cwd_loss_of_two_sizes_compares_at_the_smaller(swap):
    small, large = rand(1, 2, 2, 3), rand(1, 2, 4, 6, seed=1)
    halved = functional.avg_pool2d(large, 2)  # bilinear at half the size
    sides, expected = (small, large), (small, halved)
    if swap:
        sides, expected = sides[::-1], expected[::-1]
    torch.testing.assert_close(CWDLoss()(*sides), CWDLoss()(*expected))


def test_cwd_loss_label_resolution_compares_upsampled_channels():
    student, teacher = rand(2, 3, 4, 6).requires_grad_(), 2 * rand(2, 3, 2, 3, seed=1)
    labels = torch.full((2, 17, 23), 255)
    full = (functional.interpolate(x, (17, 23), mode='bilinear') for x in (student, teacher))
    expected = CWDLoss(4.0)(*full)
    found = CWDLoss(4.0, resolution='label')(student, teacher, labels)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(value, student)[0] for value in (found, expected))
    torch.testing.assert_close(*gradients)


def test_cwd_loss_bad_arguments_raise_user_error():
    with pytest.raises(UserError, match="resolution='pixel'"):
        CWDLoss(resolution='pixel')
    with pytest.raises(UserError, match="CWDLoss: resolution='label'"):
        CWDLoss(resolution='label')(rand(1, 2, 2, 2), rand(1, 2, 2, 2))
    with pytest.raises(UserError, match='tau=0: .*> 0'):
        CWDLoss(0)
    with pytest.raises(UserError, match='CWDLoss: 2 student and 3 .*`adapter`'):
        CWDLoss()(rand(1, 2, 2, 2), rand(1, 3, 2, 2))
