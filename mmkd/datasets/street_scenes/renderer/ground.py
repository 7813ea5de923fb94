"""Ground and sky of the procedural street scenes, painted pixel by pixel."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmkd.datasets.street_scenes.renderer.canvas import (
    PAVEMENT,
    ROAD,
    SKY,
    TREE,
    Colour,
    Scene,
    scaled,
)
from mmkd.datasets.street_scenes.renderer.textures import TILE, noise_tile

_TEXELS_PER_METRE = 14.0
_FARTHEST = 400.0  # metres


@dataclass(frozen=True)
class Roadway:
    """The street's plan, in metres; positive X is right of the camera.

    Attributes:
        left, right: kerbs of the road.
        lanes: X of the lines between lanes.
        walks: widths of the left and the right pavement.
        lawns: whether the ground behind each pavement is grass.
        crossing: (near, far) Z of a crossing street; behind the camera if there is none.
        zebra: Z of the near edge of a zebra crossing; negative if there is none.
        asphalt, paving: BGR of the two surfaces.
        shaded: X where the buildings' shadow ends, on the sun's side.
    """

    left: float
    right: float
    lanes: tuple[float, ...]
    walks: tuple[float, float]
    lawns: tuple[bool, bool]
    crossing: tuple[float, float]
    zebra: float
    asphalt: Colour
    paving: Colour
    shaded: float

    def shade(self, light, x, z):
        """Return the light on the ground at (x, z): 1 in the sun, less in the shadow."""
        # The roof line casts a stepped edge.
        edge = self.shaded + 1.3 * np.sin(np.floor(z / 7.0) * 2.3)
        inside = x > edge if light.side > 0 else x < edge
        return 1.0 - np.asarray(inside, np.float32) * (0.52 * light.sun)


def paint_sky(scene: Scene) -> None:
    """Paint a graded sky with clouds that recede towards the horizon."""
    camera, light, rng = scene.camera, scene.light, scene.rng
    height, width = scene.canvas.shape
    rows = int(np.clip(np.ceil(camera.horizon) + 1, 1, height))
    v, u = np.arange(rows, dtype=np.float32), np.arange(width, dtype=np.float32)
    lift = ((camera.horizon - v) / camera.focal).clip(0.0, None)
    grade = np.exp(-lift * 4.5)[:, None]
    sky = np.float32(light.zenith) * (1 - grade) + np.float32(light.skyline) * grade
    far = (140.0 / (lift + 0.12))[:, None]
    shift = rng.uniform(0, TILE, 2).tolist()
    across = (u - camera.centre)[None] / camera.focal * far
    noise = _sample(noise_tile(1.5, 5), across * 0.5 + shift[0], far * 0.9 + shift[1])
    cover = ((noise + 2.4 * light.cloud - 1.2) * 0.9).clip(0.0, 1.0)[..., None]
    cloud = np.float32(light.skyline) * 0.55 + np.float32((112, 110, 110))
    shading = 1.0 + 0.05 * noise[..., None]
    sky = sky[:, None] * (1 - cover * 0.85) + cloud * shading * (cover * 0.85)
    scene.canvas.pixels[:rows, :, :3] = sky.clip(0, 255)
    scene.canvas.pixels[:rows, :, 3] = SKY


def paint_ground(scene: Scene, road: Roadway, contact: np.ndarray) -> None:
    """Paint the road with its markings, the pavements and the ground behind them.

    Args:
        contact: (H, W) uint8, how much of the light objects keep off the ground.
    """
    camera, light, rng = scene.camera, scene.light, scene.rng
    height, width = scene.canvas.shape
    top = int(np.clip(np.floor(camera.horizon) + 1, 0, height))
    shift = rng.uniform(0, TILE, 4).tolist()
    look = rng.random(8).tolist()
    if top >= height:
        return
    v = np.arange(top, height, dtype=np.float32)[:, None]
    u = np.arange(width, dtype=np.float32)[None]
    z = np.minimum(camera.focal * camera.height / np.maximum(v - camera.horizon, 0.1), _FARTHEST)
    x = (u - camera.centre) * (z / camera.focal) - camera.bend * z * z
    near = np.minimum(9.0 / z, 1.0)  # fades detail finer than a pixel
    pixel = z / camera.focal  # metres per pixel sideways
    deep = pixel * z / camera.height  # and along the street

    fine = _sample(
        noise_tile(0.3, 6),
        x * _TEXELS_PER_METRE + shift[0],
        z * (0.6 * _TEXELS_PER_METRE) + shift[1],
    )
    coarse = _sample(noise_tile(1.2, 7), x * 6 + shift[2], z * 3 + shift[3])

    crossing = (z > road.crossing[0]) & (z < road.crossing[1])
    on_road = ((x > road.left) & (x < road.right)) | crossing
    outer = (road.left - road.walks[0], road.right + road.walks[1])
    surface = np.full(x.shape, _WALK, np.uint8)
    if road.lawns[0]:
        surface[x < outer[0]] = _LAWN
    if road.lawns[1]:
        surface[x > outer[1]] = _LAWN
    beyond_kerb = np.maximum(road.left - x, x - road.right)
    surface[(beyond_kerb < 0.16) & (beyond_kerb > 0)] = _KERB
    surface[on_road] = _ASPHALT
    if look[0] < 0.25:  # a cycle lane along the right kerb
        surface[on_road & ~crossing & (x > road.right - 1.5)] = _CYCLE_LANE

    lum = 1.0 + (0.05 + 0.09 * look[1]) * fine * near + (0.04 + 0.05 * look[2]) * coarse
    slab = 0.5 + look[3]
    joint = ((x % slab < 0.05) | (z % (1.4 * slab) < 0.05)) & (surface == _WALK)
    lum = lum - 0.2 * near * joint
    gutter = np.exp(-np.abs(beyond_kerb + 0.25) * 5.0) * on_road
    tracks = np.cos((x - road.lanes[0]) * (2 * np.pi / 1.55)) * on_road
    lum = lum * (1.0 - 0.22 * gutter) + 0.035 * look[4] * tracks
    patch = (coarse > 1.0 + look[5]) & on_road  # repairs
    lum = np.where(patch, lum * 0.84, lum)

    worn = coarse * 0.5 + fine * 0.3 < 0.7
    line = _between_lanes(road, x, z, np.maximum(0.07, 0.45 * pixel))
    line |= (np.abs(beyond_kerb + 0.45) < np.maximum(0.06, 0.4 * pixel)) & (look[6] < 0.4)
    if road.zebra > 0:
        bars = (z > road.zebra) & (z < road.zebra + 3.0) & (x % 1.1 < 0.55)
        line = (line & ((z < road.zebra - 1.5) | (z > road.zebra + 4))) | bars
        stop = (z > road.zebra - 1.3) & (z < road.zebra - 0.9 + deep * 0.4)
        line |= stop & (x > road.lanes[len(road.lanes) // 2])
    line &= on_road & worn & (~crossing)
    surface[line] = _PAINT

    paint = (205, 212, 214) if look[7] < 0.75 else (110, 190, 225)
    grass = scaled((52, 104, 84), 0.8 + 0.5 * look[5])
    colours = np.float32(
        (
            road.asphalt,
            road.paving,
            scaled(road.paving, 1.18),
            grass,
            paint,
            tuple(0.55 * a + 0.45 * b for a, b in zip(road.asphalt, (58, 70, 150), strict=True)),
        )
    )
    lum = np.where(surface == _LAWN, lum + 0.16 * fine * near, lum)
    lum *= road.shade(light, x, z) * (1.0 - contact[top:].astype(np.float32) / 255.0)
    clear = np.exp(-z / light.visibility)
    picture = (colours * np.float32(light.tint))[surface]
    picture *= (lum * clear)[..., None]
    picture += (np.float32(light.haze) * (1.0 - clear))[:, None]
    scene.canvas.pixels[top:, :, :3] = picture.clip(0, 255)
    scene.canvas.pixels[top:, :, 3] = _CLASS_OF_SURFACE[surface]


_ASPHALT, _WALK, _KERB, _LAWN, _PAINT, _CYCLE_LANE = range(6)
# Grass counts as Tree, as vegetation does in CamVid's eleven classes.
_CLASS_OF_SURFACE = np.array([ROAD, PAVEMENT, PAVEMENT, TREE, ROAD, ROAD], np.uint8)


def _between_lanes(road: Roadway, x, z, half) -> np.ndarray:
    """Return the pixels of the lines between lanes: the middle one solid, the others dashed."""
    lines = np.zeros(x.shape, bool)
    middle = len(road.lanes) // 2
    for k, lane in enumerate(road.lanes):
        line = np.abs(x - lane) < half
        lines |= line if k == middle and len(road.lanes) > 2 else line & (z % 7.0 < 3.2)
    return lines


def _sample(tile: np.ndarray, across, along) -> np.ndarray:
    """Sample a noise tile bilinearly at any texel coordinates."""
    shape = np.broadcast_shapes(across.shape, along.shape)
    maps = [np.ascontiguousarray(np.broadcast_to(m, shape), np.float32) for m in (across, along)]
    return cv2.remap(tile, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
