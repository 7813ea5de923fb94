import numpy as np
import pytest
import torch

from mmkd.visualization.inspection import input_picture


@pytest.mark.parametrize('channels, shown', [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2])])
def test_input_picture_has_three_channels(channels, shown):
    image = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    picture = input_picture(dict(inputs=image))
    assert picture.shape == (5, 7, 3) and picture.dtype == np.uint8
    assert picture.flags['C_CONTIGUOUS']
    assert (picture == image.permute(1, 2, 0).numpy()[..., shown]).all()


def test_input_picture_of_four_float_channels_shows_the_first_three():
    image = torch.tensor([-3.0, 40.0, 300.0, 7.0])[:, None, None].expand(4, 2, 2)
    picture = input_picture(dict(inputs=image))
    assert picture.shape == (2, 2, 3) and picture.dtype == np.uint8
    assert (picture == [0, 40, 255]).all()
