"""Lay the maps of a network over its input image."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class ImageGrid:
    """An image and the size at which the networks saw it.

    Attributes:
        image: BGR picture (H, W, 3), uint8, as the pipeline yields it.
        inputs: height and width of the networks' input, which is ``image`` with padding.
    """

    image: np.ndarray
    inputs: tuple[int, int]

    def extent(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width in pixels that a grid (rows, columns) spans.

        The grid begins at the top left. It spans the networks' input or more: convolutions of
        stride 2 round up, and the last cells of a coarse level reach beyond the input.
        """
        for stride in (2**k for k in range(max(self.inputs).bit_length())):
            if tuple(math.ceil(size / stride) for size in self.inputs) == tuple(grid):
                return grid[0] * stride, grid[1] * stride
        return self.inputs  # a pooled grid, or a stride that is not a power of two

    def crop(self, grid: Tensor) -> np.ndarray:
        """Return the cells of a map (h, w) that lie over the image, by more than half."""
        (height, width), (rows, columns) = self.extent(grid.shape), grid.shape
        bottom = max(1, round(rows * self.image.shape[0] / height))
        right = max(1, round(columns * self.image.shape[1] / width))
        return grid[:bottom, :right].cpu().numpy()

    def upsample_to_image(self, grid: Tensor) -> np.ndarray:
        """Return a map (h, w) resized to the pixels (H, W) of the image, which may cut cells."""
        height, width = self.extent(grid.shape)
        spread = cv2.resize(grid.float().cpu().numpy(), (width, height))
        return spread[: self.image.shape[0], : self.image.shape[1]]
