"""Gradient attention transfer: the formula by hand. The gradients are tested with the Distiller."""

import pytest
import torch

from mmkd.errors import UserError
from mmkd.losses.gradient_at_loss import GradientATLoss


def test_gradient_at_loss_equals_hand_value():
    # Two images of 2 channels and one pixel: differences (3, 4) and (0, 12), norms 5 and 12.
    student = torch.tensor([[[[4.0]], [[6.0]]], [[[1.0]], [[13.0]]]])
    teacher = torch.tensor([[[[1.0]], [[2.0]]], [[[1.0]], [[1.0]]]])
    assert GradientATLoss()(student, teacher).item() == pytest.approx(0.5 * (5 + 12) / 2)
    assert GradientATLoss(beta=3.0)(student, teacher).item() == pytest.approx(1.5 * (5 + 12) / 2)


@pytest.mark.parametrize('beta', [0, -1.0, float('inf'), float('nan'), '1', True])
def test_gradient_at_loss_bad_parameters_raise_user_error(beta):
    with pytest.raises(UserError, match=f'beta={beta!r}: expected a number > 0'):
        GradientATLoss(beta)


def test_gradient_at_loss_bad_inputs_raise_user_error():
    with pytest.raises(UserError, match=r'student \(2, 3, 4, 4\), teacher \(2, 3, 8, 8\)'):
        GradientATLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 8, 8))
