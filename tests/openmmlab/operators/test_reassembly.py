"""CARAFE, PSA masks and masked convolution on mmkd's operators, against their definitions."""

from itertools import product

import pytest
import torch
from mmcv.ops import MaskedConv2d, carafe
from mmcv.ops.psa_mask import psa_mask
from torch.autograd import gradcheck

pytestmark = pytest.mark.usefixtures('mmkd_operators')


@pytest.mark.parametrize('kernel, groups, scale', [(3, 1, 2), (5, 2, 2), (1, 4, 3)])
def test_carafe_follows_the_paper(kernel, groups, scale):
    features = torch.randn(2, 4, 3, 5)
    masks = torch.randn(2, groups * kernel**2, 3 * scale, 5 * scale)
    expected = torch.zeros(2, 4, 3 * scale, 5 * scale)
    reach = kernel // 2
    for n, c, y, x in product(*map(range, expected.shape)):
        group = c // (4 // groups)
        for k, (dy, dx) in enumerate(product(range(-reach, reach + 1), repeat=2)):
            row, column = y // scale + dy, x // scale + dx
            if 0 <= row < 3 and 0 <= column < 5:
                weight = masks[n, group * kernel**2 + k, y, x]
                expected[n, c, y, x] += weight * features[n, c, row, column]
    torch.testing.assert_close(carafe(features, masks, kernel, groups, scale), expected)


def test_carafe_gradient_is_the_derivative():
    features = torch.randn(1, 4, 3, 2, dtype=torch.double, requires_grad=True)
    masks = torch.randn(1, 2 * 9, 6, 4, dtype=torch.double, requires_grad=True)
    assert gradcheck(lambda x, m: carafe(x, m, 3, 2, 2), (features, masks))


@pytest.mark.parametrize('kind', [0, 1])
def test_psa_mask_puts_each_weight_at_its_pixel(kind):
    height, width, size = 3, 4, (3, 5)
    masks = torch.randn(1, 15, height, width, dtype=torch.double, requires_grad=True)
    expected = torch.zeros(1, height * width, height, width).double()
    for y, x, i, j in product(range(height), range(width), range(3), range(5)):
        row, column = y + i - 1, x + j - 2
        if 0 <= row < height and 0 <= column < width:
            weight = masks[0, i * 5 + j, y, x]
            if kind == 0:
                expected[0, row * width + column, y, x] = weight
            else:
                expected[0, y * width + x, row, column] = weight
    assert torch.equal(psa_mask(masks, kind, size), expected)
    assert gradcheck(lambda m: psa_mask(m, kind, size), masks)


@pytest.mark.parametrize('kernel, padding', [(3, 1), ((1, 3), (0, 1)), (1, 0)])
def test_masked_conv_is_the_convolution_where_the_mask_is_set(kernel, padding):
    convolve = MaskedConv2d(4, 6, kernel, padding=padding)
    features, mask = torch.randn(1, 4, 5, 7), torch.rand(1, 5, 7) > 0.5
    output = convolve(features, mask.float())
    torch.testing.assert_close(output, convolve(features) * mask, rtol=1e-5, atol=1e-6)
