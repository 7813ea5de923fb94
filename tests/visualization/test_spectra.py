import numpy as np

from mmkd.visualization.spectra import draw_spectra


def coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2) > 60


def test_draw_spectra_has_size_and_curve_per_graph():
    falling = np.geomspace(1, 1e-3, 16)
    one = draw_spectra({'teacher': falling}, 300, 200)
    two = draw_spectra({'teacher': falling, 'student': falling[::2] / 3}, 300, 200)
    assert one.shape == two.shape == (200, 300, 3) and one.dtype == np.uint8
    assert coloured(two).sum() > 1.3 * coloured(one).sum() > 0


def test_draw_spectra_curve_falls_and_ends_at_zero_eigenvalue():
    values = np.array([1.0, -0.1, 0.01, 0.0, 0.0, 0.0])
    both = dict(all=np.full(6, 1e-3), some=values)
    picture = draw_spectra(both, 300, 200)
    orange = np.abs(picture.astype(int) - [14, 127, 255]).sum(2) < 20  # Matplotlib's second
    rows, columns = np.nonzero(orange[:, : 300 // 2])
    assert rows[columns < columns.min() + 5].mean() < rows[columns > columns.max() - 5].mean()
    # Three of six ranks: the curve ends in the left half of the axes, but for the legend's sample.
    assert not orange[100:, 180:].any()
