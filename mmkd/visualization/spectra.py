"""Plot spectra of graphs."""

from collections.abc import Mapping

import cv2
import matplotlib
import numpy as np

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402


def draw_spectra(
    spectra: Mapping[str, np.ndarray], width: int = 384, height: int = 288
) -> np.ndarray:
    """Plot the magnitudes of eigenvalues by rank, on a logarithmic axis.

    Args:
        spectra: Eigenvalues (k,) by the name of their graph, largest magnitude first; zeros are
            left out.
        width, height: Size of the picture in pixels.

    Returns:
        BGR picture (height, width, 3), uint8.
    """
    dpi = 96
    figure, axes = plt.subplots(figsize=(width / dpi, height / dpi), dpi=dpi, layout='constrained')
    for i, (name, values) in enumerate(spectra.items()):
        magnitude = np.where(values == 0, np.nan, np.abs(values))
        rank = np.arange(1, len(values) + 1)
        marker = 'osv^'[i % 4]
        axes.semilogy(rank, magnitude, marker=marker, label=name, linewidth=1, markersize=4)
    axes.set_xlabel('rank', fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
    figure.canvas.draw()
    picture = cv2.cvtColor(np.asarray(figure.canvas.buffer_rgba()), cv2.COLOR_RGBA2BGR)
    plt.close(figure)
    return picture
