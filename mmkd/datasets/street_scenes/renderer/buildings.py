"""Buildings along the procedural street."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from mmkd.datasets.street_scenes.renderer.canvas import BUILDING, Colour, Scene, scaled
from mmkd.datasets.street_scenes.renderer.textures import FACADE_METRES, facades

_LEVELS = np.arange(256, dtype=np.float32)[:, None]
_ROOFS = ((60, 66, 96), (70, 72, 78), (52, 60, 70), (64, 80, 120))


@dataclass(frozen=True)
class Building:
    """A box beside the street.

    Attributes:
        front: X of the wall along the street.
        near, far: Z of its two ends.
        height: metres to the eaves.
        pitched: whether a pitched roof sits on it, rather than a flat one.
        free: whether the end wall that faces the camera stands free.
    """

    front: float
    near: float
    far: float
    height: float
    pitched: bool
    free: bool


def draw_building(scene: Scene, house: Building) -> None:
    """Draw the wall along the street, the end wall that faces the camera, and the roof."""
    camera, light, rng, canvas = scene.camera, scene.light, scene.rng, scene.canvas
    side = 1 if house.front > 0 else -1
    near, far, height, front = house.near, house.far, house.height, house.front
    middle = (near + far) / 2
    look, offset, end_offset, chimney, darkness = rng.random(5).tolist()
    tint: Colour = tuple((rng.uniform(0.86, 1.12, 3) * (0.78 + 0.34 * darkness)).tolist())
    roof: Colour = scaled(scene.pick(_ROOFS), rng.uniform(0.7, 1.3))
    rise = rng.uniform(1.6, 3.2) if house.pitched else 0.0
    fronts = facades(light.lamps)
    levels = fronts[int(look * len(fronts))]
    wall = tuple(c * t for c, t in zip(levels[-1][0, 0, :3].tolist(), tint, strict=True))

    # A front is lit when the sun is on the other side of the street.
    street_gain = 1.0 - (0.34 * light.sun if side == light.side else -0.12 * light.sun)
    end_gain = 1.0 - 0.18 * light.sun
    outer = front + side * 7.0
    inner, rim = (front, outer) if side > 0 else (outer, front)
    point = camera.point

    if house.pitched:
        ridge = front + side * 3.5
        if chimney < 0.6:
            (u0, v0), (u1, _) = (point(ridge + d, height + rise + 1.2, middle) for d in (-0.4, 0.4))
            low = point(ridge, height, middle)[1]
            shaft = ((u0, v0), (u1, v0), (u1, low), (u0, low))
            canvas.fill(shaft, light.tone(wall, middle, 0.8), BUILDING)
        slope = [point(front, height, near), point(front, height, far)]
        slope += [point(ridge, height + rise, far), point(ridge, height + rise, near)]
        tone = light.tone(roof, middle, 1.05 if side != light.side else 0.8)
        canvas.fill(slope, tone, BUILDING)
        peak = [point(inner, height, near), point(ridge, height + rise, near)]
        peak.append(point(rim, height, near))
        canvas.fill(peak, light.tone(wall, near, end_gain), BUILDING)
    corners = [point(inner, height, near), point(rim, height, near)]
    corners += [point(rim, 0.0, near), point(inner, 0.0, near)]
    if house.free and abs(corners[1][0] - corners[0][0]) > 2:
        density = camera.focal / max(near, 5.0)
        picture = _cut(levels, 7.0, height, density, end_offset)
        canvas.texture(_under_light(scene, picture, tint, near, end_gain), corners)
    else:  # only a strip shows over or beside a lower neighbour
        canvas.fill(corners, light.tone(wall, near, end_gain), BUILDING)

    left, right = (near, far) if side < 0 else (far, near)
    corners = [point(front, height, left), point(front, height, right)]
    corners += [point(front, 0.0, right), point(front, 0.0, left)]
    if abs(corners[1][0] - corners[0][0]) < 2:  # edge on
        canvas.fill(corners, light.tone(wall, middle, street_gain), BUILDING)
        return
    # The number of texels follows the middle of the wall, where most of its pixels are.
    density = camera.focal / max(math.sqrt(near * far), 5.0)
    picture = _cut(levels, far - near, height, density, offset)
    picture = _under_light(scene, picture, tint, middle, street_gain)
    # A coping, so that the eaves do not cut off a window.
    picture[: max(1, round(0.07 * picture.shape[0]))] = (
        *(min(c, 255) for c in light.tone(wall, middle, 0.9 * street_gain)),
        BUILDING,
    )
    canvas.texture(picture, corners)


def _cut(levels, length: float, height: float, density: float, offset: float) -> np.ndarray:
    """Return a piece of a facade, in metres, with about ``density`` texels per metre."""
    finest = levels[0].shape[0] / FACADE_METRES
    level = levels[min(max(round(math.log2(finest / density)), 0), len(levels) - 1)]
    texels = level.shape[0] / FACADE_METRES
    columns, rows = (max(2, round(m * texels)) for m in (min(length, FACADE_METRES), height))
    start = round(offset * (level.shape[1] - columns))
    return level[-min(rows, level.shape[0]) :, start : start + columns]


def _under_light(
    scene: Scene, picture: np.ndarray, tint: Colour, z: float, gain: float
) -> np.ndarray:
    """Return a texture under the scene's light and haze, as BGR and the building's key."""
    light = scene.light
    clear = math.exp(-z / light.visibility)
    factor = [t * c * gain * clear for t, c in zip(tint, light.tint, strict=True)]
    veil = [h * (1.0 - clear) for h in light.haze]
    curve = np.minimum(_LEVELS * (*factor, 1.0) + (*veil, 0.0), 255).astype(np.uint8)
    return cv2.LUT(picture, curve[None])
