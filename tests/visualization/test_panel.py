import numpy as np

from mmkd.visualization.panel import colour_labels, panel


def test_colour_labels_gives_bgr_colours():
    label = np.array([[0, 1], [255, 1]])
    painted = colour_labels(label, [[1, 2, 3], [250, 128, 0]])
    assert painted.tolist() == [[[3, 2, 1], [0, 128, 250]], [[0, 0, 0], [0, 128, 250]]]
    assert painted.dtype == np.uint8


def test_colour_labels_has_as_many_colours_as_the_palette():
    palette = np.random.default_rng(0).integers(1, 256, (400, 3))
    painted = colour_labels(np.array([[0, 300, 399, 500, 255]]), palette.tolist())
    assert (painted[0, :3] == palette[[0, 300, 399], ::-1]).all()
    assert (painted[0, 3:] == 0).all()  # beyond the palette, and ignored


def test_panel_pictures_stand_side_by_side_under_titles():
    red = np.full((10, 20, 3), (0, 0, 255), np.uint8)
    blue = np.full((30, 30, 3), (255, 0, 0), np.uint8)
    out = panel({'a': red, 'b': blue}, height=40)
    assert out.shape == (28 + 40, 80 + 4 + 40, 3)
    assert (out[28:, :80] == (0, 0, 255)).all() and (out[28:, 84:] == (255, 0, 0)).all()
    assert (out[:28, :80] < 100).any()  # a title
