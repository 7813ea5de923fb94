import numpy as np
import torch

from mmkd.visualization.image_grid import ImageGrid
from mmkd.visualization.overlay import draw_boxes, overlay
from mmkd.visualization.panel import stack


def test_overlay_peak_is_brightest_and_zero_is_grey():
    image = np.full((40, 60, 3), 100, np.uint8)
    heat = np.zeros((4, 6), np.float32)
    heat[1, 4] = 2.0
    picture = overlay(image, heat, peak=2.0, opacity=0.5).astype(int).sum(axis=2)
    brightest = np.unravel_index(picture.argmax(), picture.shape)
    assert 10 <= brightest[0] < 20 and 40 <= brightest[1] < 50
    assert abs(picture[35, 5] - 3 * 50) <= 6  # half of the grey, and almost black
    # Against another peak the same map has another colour.
    assert overlay(image, heat, 4.0)[15, 45].sum() < overlay(image, heat, 2.0)[15, 45].sum()


def test_overlay_empty_map_and_values_above_peak_have_colours():
    image = np.zeros((8, 8, 3), np.uint8)
    assert (overlay(image, np.zeros((2, 2)), 0.0) <= 3).all()
    assert np.array_equal(
        overlay(image, np.full((2, 2), 9.0), 1.0), overlay(image, np.ones((2, 2)), 1.0)
    )


def test_draw_boxes_leaves_the_image():
    image = np.zeros((20, 20, 3), np.uint8)
    picture = draw_boxes(image, np.array([[2.0, 3.0, 10.0, 12.0]]))
    assert not image.any()
    rows, columns = np.nonzero(picture[..., 1])
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (2, 3, 10, 12)
    assert not picture[7, 6].any()


def test_image_grid_map_of_padded_input_is_cropped():
    image = np.zeros((50, 80, 3), np.uint8)
    placed = ImageGrid(image, (64, 96))
    grid = torch.arange(8.0 * 12).view(8, 12)
    assert np.array_equal(placed.crop(grid), grid[:6, :10].numpy())
    assert placed.crop(torch.ones(1, 1)).shape == (1, 1)
    # Two pixels about the centre of each cell.
    spread = placed.upsample_to_image(grid)
    assert np.allclose((spread[11:45:8, 3] + spread[12:45:8, 3]) / 2, grid[1:6, 0])


def test_image_grid_rounded_up_level_reaches_beyond_input():
    image = np.zeros((240, 320, 3), np.uint8)
    placed = ImageGrid(image, (256, 320))
    coarse = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    spread = placed.upsample_to_image(coarse)
    assert spread.shape == (240, 320)
    # From the centre of the second cell, of 128 pixels, to that of the third at 320.
    assert not spread[:, :192].any() and abs(spread[0, 256] - 0.5) < 0.01 < spread[0, 194]
    assert placed.crop(coarse).shape == (2, 2)
    # Pooling cuts the input itself, whatever its size.
    assert placed.extent((3, 3)) == (256, 320)


def test_stack_rows_of_different_width_are_padded_white():
    sheet = stack([np.zeros((2, 3, 3), np.uint8), np.zeros((1, 5, 3), np.uint8)])
    assert sheet.shape == (3, 5, 3)
    assert (sheet[:2, 3:] == 255).all() and not sheet[:2, :3].any() and not sheet[2].any()
