"""Features after each channel is normalised: against Pearson's correlation, and by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.losses.pkd_loss import PKDLoss


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_pkd_loss_equals_one_minus_numpy_correlation():
    student, teacher = rand(3, 4, 20, 25), rand(3, 4, 20, 25, seed=1)
    pairs = zip(student.transpose(0, 1), teacher.transpose(0, 1), strict=True)
    expected = np.mean([1 - np.corrcoef(s.flatten(), t.flatten())[0, 1] for s, t in pairs])
    assert PKDLoss()(student, teacher).item() == pytest.approx(expected, abs=1e-5)


def test_pkd_loss_of_opposite_channels_is_two():
    feature = rand(2, 3, 4, 5)
    assert PKDLoss()(feature, -feature).item() == pytest.approx(2, abs=1e-5)


def test_pkd_loss_by_hand():
    # Deviations 1 and 2 around means 2 and 0: normalised to (-1, 1) and (1, -1).
    student = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    teacher = torch.tensor([2.0, -2.0]).view(1, 1, 1, 2)
    assert PKDLoss()(student, teacher).item() == pytest.approx(2, abs=1e-5)
    # A constant channel is 0 after normalisation, which is half way between alike and opposite.
    assert PKDLoss()(torch.ones_like(student), teacher).item() == pytest.approx(0.5, abs=1e-5)


def test_pkd_loss_ignores_scale_and_offset_of_each_channel():
    student, teacher = rand(2, 3, 4, 5), rand(2, 3, 4, 5, seed=1)
    scale = torch.tensor([3.0, 20.0, 0.5]).view(1, 3, 1, 1)
    offset = torch.tensor([-1.0, 7.0, 0.2]).view(1, 3, 1, 1)
    expected = PKDLoss()(student, teacher)
    torch.testing.assert_close(
        PKDLoss()(student * scale + offset, teacher), expected, rtol=1e-4, atol=0
    )
    # Not those of a sample: the statistics are over the batch.
    sample = torch.tensor([1.0, 5.0]).view(2, 1, 1, 1)
    assert not torch.isclose(PKDLoss()(student * sample, teacher), expected, rtol=1e-3)


@pytest.mark.parametrize('scale', [1e-3, 1e-5, 1e-6])
def test_pkd_loss_of_a_faint_student_is_that_of_a_strong_one(scale):
    teacher = rand(4, 8, 16, 16).float()
    assert PKDLoss()(scale * teacher, teacher).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('swap', [False, True])
def test_pkd_loss_of_two_sizes_compares_at_the_smaller(swap):
    small, large = rand(1, 2, 2, 3), rand(1, 2, 4, 6, seed=1)
    halved = functional.avg_pool2d(large, 2)  # bilinear at half the size
    value = PKDLoss()(*((large, small) if swap else (small, large)))
    torch.testing.assert_close(value, PKDLoss()(small, halved))


def test_pkd_loss_of_other_channels_names_adapter():
    with pytest.raises(UserError, match='PKDLoss: 2 student and 3 .*`adapter`'):
        PKDLoss()(rand(1, 2, 2, 2), rand(1, 3, 2, 2))
