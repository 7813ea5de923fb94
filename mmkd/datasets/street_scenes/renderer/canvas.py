"""Camera, light and paint of the procedural street scenes.

World axes are metres: X to the right, Y up from the ground, Z ahead of the camera.
Pixels are (u, v), u to the right and v down. Colours are BGR floats in 0..255.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from mmkd.datasets.camvid_classes import CLASSES

# Positions in camvid_classes.CLASSES
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

Colour = tuple[float, float, float]

_SUBPIXEL_BITS = 3
_NEAR = 0.6  # metres; points closer than this are moved onto this plane


@dataclass(frozen=True)
class Camera:
    """Pinhole camera over a flat ground, looking down a street that may bend.

    Attributes:
        focal: focal length in pixels.
        centre: column of the vanishing point of a straight street.
        horizon: row of the horizon.
        height: metres above the ground.
        bend: sideways drift of the street, ``bend * Z**2`` metres.
    """

    focal: float
    centre: float
    horizon: float
    height: float
    bend: float

    def project(self, x, y, z) -> np.ndarray:
        """Project world points (street coordinates) to pixels, shape (..., 2)."""
        z = np.maximum(z, _NEAR)
        scale = self.focal / z
        u = self.centre + scale * x + self.focal * self.bend * z
        v = self.horizon + scale * (self.height - np.asarray(y))
        pixels = np.empty((*np.broadcast_shapes(u.shape, v.shape), 2))
        pixels[..., 0], pixels[..., 1] = u, v
        return pixels

    def point(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Project one point; many times faster than :meth:`project` of an array of one."""
        if z < _NEAR:
            z = _NEAR
        scale = self.focal / z
        u = self.centre + scale * x + self.focal * self.bend * z
        return u, self.horizon + scale * (self.height - y)

    def foot(self, x: float, z: float) -> tuple[float, float, float]:
        """Return the pixel of the ground point (x, z) and the pixels per metre there."""
        scale = self.focal / z
        u = self.centre + scale * x + self.focal * self.bend * z
        return u, self.horizon + scale * self.height, scale


@dataclass(frozen=True)
class Light:
    """Daylight of one scene.

    Attributes:
        sun: strength of direct light, 0 (overcast) to 1.
        side: the side of the street the sun stands on, -1 left, +1 right.
        reach: length of a shadow per metre of height, along X.
        tint: colour of the light, about (1, 1, 1).
        haze: colour that distance fades to.
        visibility: metres over which contrast falls to 1/e.
        zenith, skyline: sky colours overhead and at the horizon.
        cloud: cloud cover, 0 to 1.
        lamps: whether windows and headlights are lit.
    """

    sun: float
    side: int
    reach: float
    tint: Colour
    haze: Colour
    visibility: float
    zenith: Colour
    skyline: Colour
    cloud: float
    lamps: bool

    def tone(self, colour: Colour, z: float, gain: float = 1.0) -> Colour:
        """Return ``colour`` under this light, ``z`` metres away; glare can exceed 255."""
        clear = math.exp(-z / self.visibility)
        veil = 1.0 - clear
        gain *= clear
        tint, haze = self.tint, self.haze
        return (
            colour[0] * tint[0] * gain + haze[0] * veil,
            colour[1] * tint[1] * gain + haze[1] * veil,
            colour[2] * tint[2] * gain + haze[2] * veil,
        )


class Canvas:
    """Image and labels as the four channels B, G, R, key of one array.

    Every primitive writes the four channels in one call, so that a pixel's colour and
    its label always come from the same mask. A key below ``len(CLASSES)`` is the class
    itself; :meth:`new_key` hands out keys for single objects.
    """

    def __init__(self, height: int, width: int) -> None:
        self.pixels = np.zeros((height, width, 4), np.uint8)
        self.class_of_key = list(range(len(CLASSES)))

    @property
    def shape(self) -> tuple[int, int]:
        return self.pixels.shape[:2]

    def new_key(self, label: int) -> int:
        """Return a key for one more object of class ``label``; the class itself if none is left."""
        if len(self.class_of_key) > 255:
            return label
        self.class_of_key.append(label)
        return len(self.class_of_key) - 1

    def fill(self, points, colour: Colour, key: int) -> None:
        """Draw a filled polygon, points (n, 2)."""
        points = [_fixed(points)]
        cv2.fillPoly(self.pixels, points, (*colour, key), cv2.LINE_8, _SUBPIXEL_BITS)

    def lines(self, polylines, colour: Colour, key: int, thickness: float = 1.0) -> None:
        """Draw open polylines; a thickness below one pixel is drawn as one."""
        points = [_fixed(polyline) for polyline in polylines]
        width = max(1, round(thickness))
        cv2.polylines(self.pixels, points, False, (*colour, key), width, cv2.LINE_8, _SUBPIXEL_BITS)

    def ellipse(self, u, v, half_width, half_height, colour, key, thickness=-1.0) -> None:
        """Draw an ellipse with upright axes; a negative ``thickness`` fills it."""
        unit = 1 << _SUBPIXEL_BITS
        width = -1 if thickness < 0 else max(1, round(thickness))
        cv2.ellipse(
            self.pixels,
            (round(u * unit), round(v * unit)),
            (round(half_width * unit), round(half_height * unit)),
            0,
            0,
            360,
            (*colour, key),
            width,
            cv2.LINE_8,
            _SUBPIXEL_BITS,
        )

    def paste(self, patch: np.ndarray, mask: np.ndarray, left: int, top: int) -> None:
        """Copy ``patch`` (h, w, 4) where ``mask`` (h, w) is not zero."""
        height, width = self.shape
        u0, v0 = max(left, 0), max(top, 0)
        u1, v1 = min(left + mask.shape[1], width), min(top + mask.shape[0], height)
        if u0 >= u1 or v0 >= v1:
            return
        inside = np.s_[v0 - top : v1 - top, u0 - left : u1 - left]
        cv2.copyTo(patch[inside], mask[inside], self.pixels[v0:v1, u0:u1])

    def texture(self, texture: np.ndarray, corners) -> None:
        """Map ``texture`` (h, w, 4) onto the convex quadrilateral ``corners``, 4 points (u, v).

        Corners go top left, top right, bottom right, bottom left.
        """
        height, width = self.shape
        us, vs = zip(*corners, strict=True)
        left, right = max(int(min(us)), 0), min(int(max(us)) + 2, width)
        top, bottom = max(int(min(vs)), 0), min(int(max(vs)) + 2, height)
        if left >= right or top >= bottom:
            return
        corners = [(u - left, v - top) for u, v in corners]
        patch = cv2.warpPerspective(
            texture,
            _texture_to_quad(texture.shape[1], texture.shape[0], corners),
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillConvexPoly(mask, _fixed(corners), 255, cv2.LINE_8, _SUBPIXEL_BITS)
        cv2.copyTo(patch, mask, self.pixels[top:bottom, left:right])


@dataclass(frozen=True)
class Scene:
    """Canvas, camera, light and RNG, which every drawing function needs."""

    canvas: Canvas
    camera: Camera
    light: Light
    rng: np.random.Generator

    def pick(self, choices):
        return choices[self.rng.integers(len(choices))]


def scaled(colour: Colour, factor: float) -> Colour:
    """Return ``colour`` made darker or brighter."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def _fixed(points) -> np.ndarray:
    """Convert pixel coordinates to OpenCV's fixed-point integers."""
    return (np.asarray(points, np.float32) * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _texture_to_quad(columns: int, rows: int, corners) -> np.ndarray:
    """Return the homography (3, 3) from texel centres to the quadrilateral of the texture.

    The closed form of Heckbert, "Fundamentals of Texture Mapping", 1989, section 2.2.3.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / area, (dx1 * sy - sx * dy1) / area
    square = ((x1 - x0 + g * x1, x3 - x0 + h * x3, x0), (y1 - y0 + g * y1, y3 - y0 + h * y3, y0))
    p, q = 1.0 / columns, 1.0 / rows
    return np.array(
        [(a * p, b * q, c + 0.5 * (a * p + b * q)) for a, b, c in (*square, (g, h, 1.0))]
    )
