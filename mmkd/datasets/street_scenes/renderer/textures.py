"""Textures of the procedural street scenes: noise, tree crowns, facades.

Textures that do not depend on the scene are made once per process, from fixed seeds. Scenes sample
them at random offsets.
"""

from functools import cache

import cv2
import numpy as np

from mmkd.datasets.street_scenes.renderer.canvas import BUILDING

TILE = 512  # side of a noise tile in texels, a power of two
CROWN = 128  # side of a tree crown stencil in texels


@cache
def noise_tile(roughness: float, seed: int) -> np.ndarray:
    """Return tileable Gaussian noise (TILE, TILE) float32, zero mean and unit variance.

    Args:
        roughness: 0 is white noise; amplitude falls as frequency ** -roughness.
        seed: which of the tiles of that roughness.
    """
    white = np.random.default_rng(seed).standard_normal((TILE, TILE))
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None])
    frequency[0, 0] = np.inf if roughness else 1.0
    noise = np.fft.irfft2(np.fft.rfft2(white) * frequency**-roughness, s=(TILE, TILE))
    noise -= noise.mean()
    return (noise / noise.std()).astype(np.float32)


def crop_noise(rng: np.random.Generator, shape, roughness: float, seed: int = 0) -> np.ndarray:
    """Return a random window of a noise tile, repeated where ``shape`` (h, w) is larger."""
    tile = noise_tile(roughness, seed)
    rows, columns = shape
    # A window inside the tile is a view; one across its border is a copy.
    top, left = (rng.random(2) * (max(TILE - rows, 0) + 1, max(TILE - columns, 0) + 1)).astype(int)
    if rows <= TILE and columns <= TILE:
        return tile[top : top + rows, left : left + columns]
    return tile[np.ix_(np.arange(top, top + rows) % TILE, np.arange(left, left + columns) % TILE)]


@cache
def leafy_crowns(count: int = 14) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return stencils of trees with leaves: (shade, mask) pairs, each (CROWN, CROWN) uint8.

    ``shade`` runs from 0 (deep shadow) to 255 (lit leaves), ``mask`` is 0 or 255.
    """
    crowns = []
    v, u = np.mgrid[0:CROWN, 0:CROWN].astype(np.float32) / CROWN
    for k in range(count):
        rng = np.random.default_rng([7, k])
        conifer = k % 5 == 4
        body = np.full((CROWN, CROWN), -9.0, np.float32)
        light = np.zeros_like(body)
        for _ in range(26):
            if conifer:
                y = rng.uniform(0.12, 0.9)
                x, r = 0.5 + rng.uniform(-0.33, 0.33) * y, 0.05 + 0.1 * y
            else:
                angle, reach = rng.uniform(0, 2 * np.pi), 0.31 * np.sqrt(rng.uniform())
                x, y = 0.5 + reach * np.cos(angle), 0.5 + reach * np.sin(angle)
                r = rng.uniform(0.08, 0.19)
            near = 1.0 - np.hypot(u - x, v - y) / r
            light = np.where(near > body, 0.55 - (v - y) / r * 0.35 - (u - x) / r * 0.1, light)
            body = np.maximum(body, near)
        ragged = crop_noise(rng, body.shape, 0.9, 1)
        leaves = crop_noise(rng, body.shape, 0.45, 2)
        density = rng.uniform(0.0, 0.3)
        mask = body + 0.26 * ragged + 0.16 * leaves > density
        shade = light * (0.75 + 0.5 * (1.0 - v)) + 0.11 * ragged + 0.12 * leaves
        crowns.append(((shade.clip(0, 1) * 255).astype(np.uint8), mask.astype(np.uint8) * 255))
    return crowns


@cache
def bare_crowns(count: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return stencils of leafless trees, in the form of :func:`leafy_crowns`."""
    crowns = []
    for k in range(count):
        rng = np.random.default_rng([8, k])
        shade = np.zeros((2 * CROWN, 2 * CROWN), np.uint8)
        mask = np.zeros_like(shade)
        # (u, v, direction, length, thickness), grown from the foot of the crown
        branches = [(CROWN, 2 * CROWN, -np.pi / 2, 58.0, 11.0)]
        while branches:
            x, y, angle, length, thick = branches.pop()
            tip = (x + length * np.cos(angle), y + length * np.sin(angle))
            start, end = (int(x), int(y)), (int(tip[0]), int(tip[1]))
            cv2.line(mask, start, end, 255, max(3, round(thick)))
            cv2.line(shade, start, end, int(rng.integers(40, 220)), max(3, round(thick)))
            if length > 11:
                for _ in range(rng.integers(2, 4)):
                    turn = rng.normal(0, 0.55)
                    shrink = rng.uniform(0.66, 0.86)
                    branches.append((*tip, angle + turn, length * shrink, thick * 0.62))
        size = (CROWN, CROWN)
        mask = (cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 100).astype(np.uint8) * 255
        crowns.append((cv2.resize(shade, size, interpolation=cv2.INTER_AREA), mask))
    return crowns


FACADE_METRES = 28.0  # width and height of a facade texture


@cache
def facades(lit: bool, count: int = 40) -> list[list[np.ndarray]]:
    """Return building fronts as pyramids of (n, n, 4) uint8 textures: BGR in daylight and class.

    Each spans FACADE_METRES squared with the ground at the bottom. The first level is the finest;
    each further one halves the resolution.

    Args:
        lit: whether some windows are lit from inside.
        count: number of fronts.
    """
    pyramids = []
    for k in range(count):
        rng = np.random.default_rng([9, k])
        picture = _facade(rng, FACADE_METRES, 9.0, WALLS[k % len(WALLS)], lit)
        keyed = np.full((*picture.shape[:2], 4), BUILDING, np.uint8)
        keyed[..., :3] = picture.clip(0, 255)
        levels = [keyed]
        while levels[-1].shape[0] > 20:
            levels.append(
                cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            )
        pyramids.append(levels)
    return pyramids


# BGR: red and yellow brick, plaster, stone, concrete, paint, dark cladding, render
WALLS = (
    (62, 76, 140),
    (80, 96, 152),
    (110, 150, 178),
    (176, 196, 208),
    (150, 160, 166),
    (122, 124, 126),
    (204, 212, 216),
    (92, 104, 112),
    (150, 172, 150),
    (190, 170, 150),
    (120, 140, 190),
    (70, 74, 80),
)
_SHOP_COLOURS = ((50, 50, 170), (130, 70, 40), (60, 120, 60), (40, 40, 44), (60, 170, 210))


def _facade(
    rng: np.random.Generator,
    extent: float,
    density: float,
    wall: tuple[float, float, float],
    lit: bool,
) -> np.ndarray:
    """Return a building front ``extent`` metres square in daylight, float32 (n, n, 3) BGR.

    Args:
        density: texels per metre.
        wall: BGR of the wall.
        lit: whether some windows are lit from inside.
    """
    length = height = extent
    rows = columns = round(extent * density)
    along = (np.arange(columns) + 0.5) * (length / columns)
    up = height - (np.arange(rows) + 0.5) * (height / rows)

    brick = rng.random() < 0.45
    stain = crop_noise(rng, (rows, columns), 1.1, 3)
    grain = crop_noise(rng, (rows, columns), 0.0, 4)
    texture = 1.0 + 0.07 * stain + (0.09 if brick else 0.035) * grain
    texture *= (1.0 - 0.16 * np.exp(-up / 1.2))[:, None]
    if brick:
        texture *= np.where(up % 0.35 < 0.09, 0.84, 1.0)[:, None]
    picture = texture[..., None] * np.float32(wall)

    storey, bay = rng.uniform(2.8, 3.7), rng.uniform(1.7, 3.8)
    ground = rng.uniform(3.0, 4.2)
    shop, banded, balconies, ribbon = rng.random(4) < (0.45, 0.4, 0.22, 0.15)
    wide, low, high = rng.uniform((0.36, 0.16, 0.68), (0.7, 0.34, 0.88))
    trim = np.float32(wall) * rng.uniform(0.6, 1.5)
    frame = np.float32((215, 220, 222) if rng.random() < 0.6 else (60, 62, 66))
    shop_colour = np.float32(_SHOP_COLOURS[rng.integers(len(_SHOP_COLOURS))])
    door_bay = rng.integers(4)
    bays = max(1, round(length / bay))
    floors = max(1, int((height - ground) / storey) + 1)
    panes = _panes(rng, floors, bays, lit)

    phase = along / length * bays % 1.0
    bay_of = np.minimum((along / length * bays).astype(int), bays - 1)
    level = (up - ground) / storey
    floor_of = np.clip(level.astype(int), 0, floors - 1)
    level_phase = np.where(level >= 0, level % 1.0, -1.0)
    # The topmost partial storey stays blank.
    level_phase[level + 1 - low > (height - ground) / storey] = -1.0

    if banded:
        picture[(level_phase >= 0) & (level_phase < 0.09)] = trim
    half = 0.48 if ribbon else wide / 2
    border = 0.1 / bay
    outer = np.abs(phase - 0.5) < half + border
    inner = np.abs(phase - 0.5) < half
    rim = (level_phase > low - 0.035) & (level_phase < high + 0.03)
    glass = (level_phase > low) & (level_phase < high)
    picture[np.ix_(rim, outer)] = frame
    picture[np.ix_(glass, inner)] = panes[np.ix_(floor_of[glass], bay_of[inner])]
    picture[np.ix_(glass, np.abs(phase - 0.5) < 0.05 / bay)] = frame
    if balconies:
        rail = (level_phase > low - 0.05) & (level_phase < low + 0.22)
        picture[np.ix_(rail, outer & (bay_of % 2 == 0))] *= 0.45

    street = (up > 0.5) & (up < ground - 0.9)
    if shop:
        picture[(up >= ground - 0.9) & (up < ground - 0.15)] = shop_colour
        show = np.abs(phase - 0.5) < 0.44
        picture[np.ix_(street, show)] = panes[0, bay_of[show]] * 0.8
    else:
        show = np.abs(phase - 0.5) < wide / 2
        low_glass = (up > 1.0) & (up < ground - 0.8)
        picture[np.ix_(low_glass, show)] = panes[0, bay_of[show]]
        door = (bay_of % 4 == door_bay) & (np.abs(phase - 0.5) < 0.5 / bay)
        picture[np.ix_(up < 2.2, door)] = shop_colour * 0.8
    return picture


def _panes(rng: np.random.Generator, floors: int, bays: int, lit: bool) -> np.ndarray:
    """Return colours of the window panes (floors, bays, 3): dark rooms, sky, lamps."""
    shade = rng.uniform(22, 92, (floors, bays, 1))
    panes = shade * np.float32((1.12, 1.02, 0.92))
    kind = rng.random((floors, bays))
    panes[kind < 0.16] = (190, 176, 160)
    panes[kind < 0.07] = (200, 206, 212)
    if lit:
        panes[kind > 0.68] = (120, 205, 250)
    return panes.astype(np.float32)
