"""Feature mean square: by hand, and on two resolutions."""

import pytest
import torch
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.losses.feature_mse_loss import FeatureMSELoss


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_feature_mse_loss_equals_hand_value():
    student = torch.tensor([[[[1.0, 2.0]], [[0.0, 4.0]]]])
    teacher = torch.tensor([[[[1.0, 5.0]], [[0.0, 0.0]]]])
    assert FeatureMSELoss()(student, teacher).item() == (9 + 16) / 4


@pytest.mark.parametrize('swap', [False, True])
def test_feature_mse_loss_of_two_sizes_compares_at_the_smaller(swap):
    small, large = rand(1, 2, 2, 3), rand(1, 2, 4, 6, seed=1)
    halved = functional.avg_pool2d(large, 2)  # bilinear at half the size
    value = FeatureMSELoss()(*((large, small) if swap else (small, large)))
    torch.testing.assert_close(value, (small - halved).square().mean())
    # Each axis goes to its own smaller size.
    crossed = FeatureMSELoss()(rand(1, 2, 2, 6), rand(1, 2, 4, 3))
    assert crossed.isfinite()


def test_feature_mse_loss_different_channels_raise_user_error():
    with pytest.raises(UserError, match='FeatureMSELoss: 2 student and 3 .*`adapter`'):
        FeatureMSELoss()(rand(1, 2, 2, 2), rand(1, 3, 2, 2))
