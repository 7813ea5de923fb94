"""Panels: pictures of one scene side by side, each with a title."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

_BAR = 28  # height of a title


def colour_labels(
    label: np.ndarray, palette: Sequence[Sequence[int]], ignore: int = 255
) -> np.ndarray:
    """Paint a label map.

    Args:
        label: Class ids (H, W); ``ignore`` becomes black.
        palette: One RGB colour per class.
        ignore: The id that is not a class.

    Returns:
        BGR picture (H, W, 3), uint8.
    """
    label = label.astype(int)
    table = np.zeros((max(len(palette), label.max(), ignore) + 1, 3), np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8)[:, ::-1]
    table[ignore] = 0
    return table[label]


def panel(pictures: Mapping[str, np.ndarray], height: int = 288) -> np.ndarray:
    """Put titled pictures side by side.

    Args:
        pictures: BGR pictures (H, W, 3) of any size, by title, left to right.
        height: Height to which every picture is scaled, in pixels.

    Returns:
        BGR picture, uint8.
    """
    columns = []
    for title, picture in pictures.items():
        h, w = picture.shape[:2]
        size = (round(w * height / h), height)
        shown = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
        columns.append(np.vstack([caption(title, size[0], _BAR), shown]))
        columns.append(np.full((height + _BAR, 4, 3), 255, np.uint8))
    return np.hstack(columns[:-1])


def caption(text: str, width: int, height: int, bold: bool = False) -> np.ndarray:
    """Return a line of dark text on white, BGR (height, width, 3); longer text is cut."""
    weight = 'bold' if bold else 'normal'
    path = findfont(FontProperties(family='DejaVu Sans', weight=weight))
    picture = Image.new('RGB', (width, height), 'white')
    font = ImageFont.truetype(path, 13)
    while len(text) > 2 and font.getlength(text) > width - 8:
        text = text.rstrip('…')[:-1] + '…'
    ImageDraw.Draw(picture).text((4, height / 2), text, '#1e1e1e', font, anchor='lm')
    return np.array(picture)[..., ::-1]


def stack(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Put panels one below the other, padded with white to the widest.

    Args:
        rows: BGR pictures, uint8.

    Returns:
        BGR picture, uint8.
    """
    width = max(row.shape[1] for row in rows)
    white = (255, 255, 255)
    filled = [
        cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=white)
        for row in rows
    ]
    return np.vstack(filled)
