"""Pooling of regions by mmkd's operators."""

import pytest
import torch
import torchvision
from mmcv.ops import DeformRoIPool, RoIAlign, roi_pool
from torch.autograd import gradcheck

from mmkd.errors import UserError

pytestmark = pytest.mark.usefixtures('mmkd_operators')


def test_roi_pool_equals_torchvision_where_nothing_is_rounded():
    features = torch.randn(2, 3, 9, 12, requires_grad=True)
    rois = torch.tensor([[0, 1, 2, 8, 7], [1, 0, 0, 11, 8], [1, 5, 5, 5, 5]], dtype=torch.float)
    output = roi_pool(features, rois, (3, 2), 1.0)
    expected = torchvision.ops.roi_pool(features, rois, (3, 2), 1.0)
    assert torch.equal(output, expected)
    weights = torch.randn_like(output)
    (gradient,) = torch.autograd.grad((output * weights).sum(), features)
    (by_torchvision,) = torch.autograd.grad((expected * weights).sum(), features)
    torch.testing.assert_close(gradient, by_torchvision)


def test_roi_pool_bins_cover_each_pixel_they_touch():
    features = torch.arange(16.0).view(1, 1, 4, 4)
    # At scale 0.5, pixels 1 to 4 of the image are 0.5 to 2.5 of the map; bins meet at 1.5.
    output = roi_pool(features, torch.tensor([[0, 1, 1, 4, 4]]).float(), 2, 0.5)
    assert output.flatten().tolist() == [5, 6, 9, 10]


@pytest.mark.parametrize('corners', [(5, 5, 1, 1), (40, 40, 60, 60)])
def test_roi_pool_of_an_empty_region_is_zero_without_gradient(corners):
    features = torch.ones(1, 2, 4, 4, requires_grad=True)
    output = roi_pool(features, torch.tensor([[0, *corners]]).float(), 2, 1.0)
    output.sum().backward()
    assert not output.any() and not features.grad.any()


def test_roi_align_by_maximum_says_what_to_do():
    pool = RoIAlign(2, pool_mode='max')
    with pytest.raises(UserError, match="pool_mode='max'.*MMKD_COMPILE=1 make env"):
        pool(torch.ones(1, 1, 4, 4), torch.tensor([[0, 0, 0, 3, 3]]).float())


REGIONS = torch.tensor([[0, 3, 5, 60, 41], [1, -9, 0, 30, 30], [0, 20, 20, 20, 20]]).double()


@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('offset', [None, torch.zeros(3, 2, 3, 4).double()])
def test_deform_roi_pool_without_shifts_is_roi_align(sampling_ratio, offset):
    features = torch.randn(2, 3, 7, 9).double()
    output = DeformRoIPool((3, 4), 1 / 8, sampling_ratio)(features, REGIONS, offset)
    expected = torchvision.ops.roi_align(features, REGIONS, (3, 4), 1 / 8, sampling_ratio, True)
    torch.testing.assert_close(output, expected)


def test_deform_roi_pool_shifts_each_bin_by_its_offset():
    features = torch.randn(2, 3, 7, 9).double()
    region = REGIONS[:1]
    offset = torch.zeros(1, 2, 2, 2).double()
    offset[0, 0, 0, 1], offset[0, 1, 0, 1] = 1.5, -0.5  # x and y, of the upper right bin
    pool = DeformRoIPool(2, 1 / 8, 2, gamma=0.1)
    x, y = 0.1 * 1.5 * (60 - 3), 0.1 * -0.5 * (41 - 5)
    moved = region + torch.tensor([0, x, y, x, y], dtype=torch.double)
    shifted, plain = pool(features, region, offset), pool(features, region, None)
    torch.testing.assert_close(shifted[..., 0, 1], pool(features, moved, None)[..., 0, 1])
    torch.testing.assert_close(shifted[..., 1, :], plain[..., 1, :])


def test_deform_roi_pool_gradient_is_the_derivative():
    features = torch.randn(1, 2, 7, 9, requires_grad=True, dtype=torch.double)
    offset = torch.randn(1, 2, 2, 2, requires_grad=True, dtype=torch.double)
    pool = DeformRoIPool(2, 1 / 8, 0)
    assert gradcheck(lambda x, o: pool(x, REGIONS[:1], o), (features, offset))
