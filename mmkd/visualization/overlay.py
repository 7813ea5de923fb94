"""Heat maps over the image."""

import cv2
import numpy as np


def overlay(image: np.ndarray, heat: np.ndarray, peak: float, opacity: float = 0.6) -> np.ndarray:
    """Lay a map over an image.

    Args:
        image: BGR picture (H, W, 3), uint8.
        heat: Map (h, w) of values >= 0; it is stretched over the image.
        peak: Value with the brightest colour.
        opacity: Share of the colour against the grey image.

    Returns:
        BGR picture (H, W, 3), uint8.
    """
    height, width = image.shape[:2]
    level = np.clip(heat / peak if peak > 0 else np.zeros_like(heat), 0, 1)
    shown = cv2.resize((level * 255).astype(np.uint8), (width, height))
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    colour = cv2.applyColorMap(shown, cv2.COLORMAP_INFERNO)
    return cv2.addWeighted(grey, 1 - opacity, colour, opacity, 0)


def draw_boxes(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return a copy of an image with green boxes.

    Args:
        image: BGR picture (H, W, 3), uint8.
        boxes: (n, 4), x1 y1 x2 y2 in pixels.
    """
    picture = image.copy()
    for box in boxes.round().astype(int).tolist():
        cv2.rectangle(picture, tuple(box[:2]), tuple(box[2:]), (0, 200, 0), 1)
    return picture
