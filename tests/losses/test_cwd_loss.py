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
def test_value_is_the_papers(channels, height, width, tau):
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


def test_value_does_not_grow_with_height_or_width():
    student, teacher = rand(2, 3, 4, 5), rand(2, 3, 4, 5, seed=1)
    tiled = CWDLoss()(student.repeat(1, 1, 2, 3), teacher.repeat(1, 1, 2, 3))
    torch.testing.assert_close(tiled, CWDLoss()(student, teacher))


@pytest.mark.parametrize('swap', [False, True])
def test_the_larger_side_is_brought_to_the_smaller(swap):
    small, large = rand(1, 2, 2, 3), rand(1, 2, 4, 6, seed=1)
    halved = functional.avg_pool2d(large, 2)  # bilinear at half the size
    sides, expected = (small, large), (small, halved)
    if swap:
        sides, expected = sides[::-1], expected[::-1]
    torch.testing.assert_close(CWDLoss()(*sides), CWDLoss()(*expected))


def test_errors():
    with pytest.raises(UserError, match='tau=0 .*> 0'):
        CWDLoss(0)
    with pytest.raises(UserError, match='CWDLoss.*2 and 3.*`adapter`'):
        CWDLoss()(rand(1, 2, 2, 2), rand(1, 3, 2, 2))
