"""Trees, hedges, fences, poles and signs of the procedural street scenes.

Conventions as in :mod:`mmkd.datasets.street_scenes.renderer.traffic`.
"""

import math

import cv2
import numpy as np

from mmkd.datasets.street_scenes.renderer.canvas import (
    FENCE,
    POLE,
    SIGN,
    TREE,
    Colour,
    Scene,
    scaled,
)
from mmkd.datasets.street_scenes.renderer.textures import bare_crowns, crop_noise, leafy_crowns

# BGR
_FOLIAGE = (
    (44, 118, 78),
    (36, 96, 64),
    (54, 126, 108),
    (40, 80, 50),
    (30, 124, 158),
    (34, 88, 144),
    (62, 108, 88),
)
_LEVELS = np.linspace(0.0, 1.0, 256, dtype=np.float32)[:, None]
_WOOD = (58, 74, 92)
_METALS = ((58, 60, 62), (112, 116, 118), (150, 154, 156), (52, 70, 44), (34, 34, 36))
_FENCE_COLOURS = ((216, 222, 224), (66, 88, 112), (40, 42, 44), (120, 124, 126), (60, 92, 60))


def draw_tree(
    scene: Scene, x: float, z: float, gain: float, height: float, spread: float, bare: bool
) -> None:
    """Draw a tree of ``height`` metres with a crown ``spread`` metres wide."""
    canvas, light, rng = scene.canvas, scene.light, scene.rng
    u, v, scale = scene.camera.foot(x, z)
    stencil = scene.pick(bare_crowns() if bare else leafy_crowns())
    hue = scaled(_WOOD if bare else scene.pick(_FOLIAGE), rng.uniform(0.75, 1.3))
    mirror, trunk = rng.random() < 0.5, rng.uniform(0.2, 0.34) * height
    lean, girth = rng.uniform(-0.25, 0.25) * scale, rng.uniform(0.16, 0.36)
    half = max(girth * scale / 2, 0.4)
    top = v - (trunk + (0.0 if bare else 0.2 * height)) * scale
    canvas.fill(
        ((u - half * 1.4, v), (u + half * 1.4, v), (u + half * 0.7, top), (u - half * 0.7, top)),
        light.tone(scaled(_WOOD, 0.85), z, gain),
        TREE,
    )
    if bare:  # only twigs catch the light
        top = v - trunk * scale
    left, right = u + lean - spread * scale / 2, u + lean + spread * scale / 2
    bottom = v - (trunk * (1.0 if bare else 0.8)) * scale
    _paste_crown(scene, stencil, hue, z, gain, mirror, (left, v - height * scale, right, bottom))


def draw_hedge(
    scene: Scene, x: float, z: float, gain: float, end: tuple[float, float], height: float
) -> None:
    """Draw a hedge of ``height`` metres from (x, z) to the ground point ``end``."""
    rng = scene.rng
    hue = scaled(scene.pick(_FOLIAGE), rng.uniform(0.6, 1.0))
    leaves = crop_noise(rng, (24, 48), 0.6, 10)
    middle = (z + end[1]) / 2
    ramp = _leaf_colours(scene, hue, middle, gain)
    shade = 120 + 34 * leaves - 70 * np.linspace(0, 1, 24, dtype=np.float32)[:, None]
    texture = ramp[np.clip(shade, 0, 255).astype(np.uint8)]
    stops = np.linspace(0.0, 1.0, 7)
    bumps = height * rng.uniform(0.86, 1.12, len(stops))
    xs, zs = x + (end[0] - x) * stops, z + (end[1] - z) * stops
    foot = scene.camera.project(xs, 0.0, zs)
    top = scene.camera.project(xs, bumps, zs)
    # Draw the ragged outline first, then the leaves over its straight part.
    scene.canvas.fill(np.concatenate([foot, top[::-1]]), ramp[170, :3].tolist(), TREE)
    level = scene.camera.project(xs[[0, -1]], height * 0.86, zs[[0, -1]])
    corners = (level[0], level[1], foot[-1], foot[0])
    if abs(level[1][0] - level[0][0]) > 2:  # not edge on
        scene.canvas.texture(texture, [point.tolist() for point in corners])


def _paste_crown(scene: Scene, stencil, hue: Colour, z, gain, mirror: bool, box) -> None:
    left, top, right, bottom = box
    columns, rows = round(right - left), round(bottom - top)
    if columns < 1 or rows < 1:
        return
    if mirror:
        stencil = [layer[:, ::-1] for layer in stencil]
    shade, mask = (cv2.resize(layer, (columns, rows)) for layer in stencil)
    ramp = _leaf_colours(scene, hue, z, gain)
    cv2.threshold(mask, 110, 255, cv2.THRESH_BINARY, mask)
    scene.canvas.paste(ramp[shade], mask, round(left), round(top))


def _leaf_colours(scene: Scene, hue: Colour, z: float, gain: float) -> np.ndarray:
    """Return BGR and key (256, 4) uint8 of every shade, from deep shadow to lit leaves."""
    low, high = (scene.light.tone(scaled(hue, f), z, gain) for f in (0.28, 1.5))
    ends = np.float32(((*low, TREE), (*high, TREE)))
    return np.minimum(ends[0] + _LEVELS * (ends[1] - ends[0]), 255).astype(np.uint8)


def draw_fence(
    scene: Scene, x: float, z: float, gain: float, end: tuple[float, float], style: str
) -> None:
    """Draw a fence from (x, z) to the ground point ``end``.

    Args:
        style: 'pickets', 'railing', 'ranch', 'mesh' or 'boards'; the background shows
            through all but the last.
    """
    canvas, camera, rng = scene.canvas, scene.camera, scene.rng
    height = rng.uniform(*{'mesh': (1.5, 2.2), 'boards': (1.3, 1.9)}.get(style, (0.9, 1.35)))
    colour = scaled(scene.pick(_FENCE_COLOURS), rng.uniform(0.8, 1.1))
    tone = scene.light.tone(colour, (z + end[1]) / 2, gain)
    length = math.hypot(end[0] - x, end[1] - z)

    def run(metres, low, high) -> np.ndarray:
        """Return the pixels of points ``metres`` along the fence, at two heights, (n, 2, 2)."""
        share = metres / length
        xs, zs = x + (end[0] - x) * share, z + (end[1] - z) * share
        return camera.project(xs[:, None], np.array((low, high)), zs[:, None])

    near = camera.focal / max(min(z, end[1]), 1.0)
    ends = np.array((0.0, length))
    if style == 'boards':
        a, b = run(ends, 0.0, height)
        canvas.fill((a[0], a[1], b[1], b[0]), tone, FENCE)
        joints = run(np.arange(0.3, length, 0.3 if near > 15 else 1.2), 0.0, height)
        canvas.lines(joints, scaled(tone, 0.75), FENCE)
        return
    posts = run(np.linspace(0.0, length, max(2, round(length / 2.2))), 0.0, height)
    canvas.lines(posts, scaled(tone, 0.85), FENCE, 0.1 * near)
    shares = {'pickets': (0.3, 0.75), 'railing': (0.08, 1.0), 'ranch': (0.4, 0.7, 1.0)}
    heights = height * np.array(shares.get(style, (0.03, 1.0)))
    xs, zs = np.array(((x,), (end[0],))), np.array(((z,), (end[1],)))
    rails = camera.project(xs, heights, zs).swapaxes(0, 1)
    canvas.lines(rails, tone, FENCE, (0.1 if style == 'ranch' else 0.05) * near)
    step = {'pickets': 0.17, 'railing': 0.14, 'mesh': 0.25}.get(style)
    if step is None:
        return
    metres = np.arange(step, length, step)
    bars = run(metres, 0.05 * height, height)
    if style == 'mesh':
        bars[:, 1] = run(np.minimum(metres + height * 0.8, length), height, height)[:, 1]
    # Draw only some bars where they would merge into a solid face.
    gap = 2.6 if style == 'pickets' else 3.2
    slot = np.floor(bars[:, 0, 0] / gap)
    kept = bars[np.diff(slot, prepend=np.inf) != 0]
    canvas.lines(kept, tone, FENCE, 0.02 * near if style != 'pickets' else 0.09 * near)


def draw_pole(
    scene: Scene, x: float, z: float, gain: float, height: float, girth: float, arm: float
) -> None:
    """Draw a pole of ``height`` metres, with an arm of ``arm`` metres over the street."""
    canvas, light = scene.canvas, scene.light
    colour = scaled(scene.pick(_METALS), scene.rng.uniform(0.75, 1.2))
    curved = scene.rng.random() < 0.5
    u, v, scale = scene.camera.foot(x, z)
    if girth * scale < 0.3:
        return
    tone = light.tone(colour, z, gain)
    half = max(girth * scale, 1.0) / 2
    top = v - height * scale
    quad = ((u - half, v), (u + half - 0.5, v), (u + half * 0.7 - 0.4, top), (u - half * 0.7, top))
    canvas.fill(quad, tone, POLE)
    if girth * scale > 2.5:  # a lit edge, so that a thick pole looks round
        edge = u + light.side * half * 0.4
        canvas.lines([((edge, v), (edge, top))], scaled(tone, 1.18), POLE)
    plinth, rise = 1.5 * half, 0.45 * scale
    foot = ((u - plinth, v), (u + plinth, v), (u + half, v - rise), (u - half, v - rise))
    canvas.fill(foot, scaled(tone, 0.9), POLE)
    if arm:
        tip = u + arm * scale
        rise = 0.5 * scale if curved else 0.12 * scale
        bow = ((u, top), (u + 0.35 * arm * scale, top - 0.85 * rise), (tip, top - rise))
        canvas.lines([bow], tone, POLE, 0.09 * scale)
        glow = (190, 235, 255) if light.lamps else scaled(colour, 1.2)
        reach = math.copysign(0.6 * scale, arm)
        head = (
            (tip, top - rise - 0.1 * scale),
            (tip + reach, top - rise - 0.02 * scale),
            (tip + reach, top - rise + 0.08 * scale),
            (tip, top - rise + 0.1 * scale),
        )
        canvas.fill(head, light.tone(glow, z, max(gain, 0.9) if light.lamps else gain), POLE)


def draw_sign(scene: Scene, x: float, z: float, gain: float, kind: str, size: float) -> None:
    """Draw a sign ``size`` metres across on its own pole, or a traffic light.

    Args:
        kind: 'disc', 'triangle', 'square', 'board', 'octagon', 'back' or 'lights'.
    """
    canvas, light, rng = scene.canvas, scene.light, scene.rng
    u, v, scale = scene.camera.foot(x, z)
    raised = rng.uniform(2.1, 2.8)
    lamp, face = rng.integers(3), rng.integers(3)
    weathered = rng.uniform(0.75, 1.1)
    draw_pole(scene, x, z, gain, raised + size / 2, 0.09, 0.0)
    key = canvas.new_key(SIGN)
    v -= (raised + (0.0 if kind != 'lights' else 0.35)) * scale
    half = size * scale / 2

    def shape(points, colour, shrink=1.0):
        local = np.asarray(points) * (half * shrink, -half * shrink) + (u, v)
        canvas.fill(local, light.tone(scaled(colour, weathered), z, gain), key)

    square = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    triangle = ((-1, -0.8), (1, -0.8), (0, 1))
    turn = np.arange(8) * math.pi / 4 + math.pi / 8
    octagon = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    round_turn = np.arange(14) * math.pi / 7
    disc = np.stack([np.cos(round_turn), np.sin(round_turn)], axis=1)
    red, blue, white, black = (48, 40, 190), (160, 84, 30), (232, 232, 232), (30, 30, 32)
    if kind == 'disc':
        shape(disc, (red, red, blue)[face])
        if face < 2:
            shape(disc, white, 0.68)
        shape(
            ((-0.55, -0.18), (0.55, -0.18), (0.55, 0.18), (-0.55, 0.18)), (black, red, white)[face]
        )
    elif kind == 'triangle':
        shape(triangle, red)
        shape(triangle, white if face else (90, 215, 240), 0.6)
        shape(((-0.1, -0.4), (0.1, -0.4), (0.1, 0.3), (-0.1, 0.3)), black)
    elif kind == 'octagon':
        shape(octagon, red)
        shape(((-0.6, -0.16), (0.6, -0.16), (0.6, 0.2), (-0.6, 0.2)), white)
    elif kind == 'square':
        shape(square, (blue, (40, 180, 220), white)[face])
        shape(((-0.3, -0.7), (0.0, -0.7), (0.5, 0.5), (0.1, 0.7)), (white, black, blue)[face])
    elif kind == 'board':
        shape(np.asarray(square) * (1.4, 0.8), white)
        shape(np.asarray(square) * (1.32, 0.72), (blue, (70, 110, 30), (215, 215, 215))[face])
        ink = black if face == 2 else white
        for row, reach in ((0.4, 0.9), (0.0, 0.4), (-0.4, 0.7)):
            shape(
                ((-1.1, row - 0.1), (reach, row - 0.1), (reach, row + 0.1), (-1.1, row + 0.1)), ink
            )
    elif kind == 'back':
        shape(disc if face else triangle, (132, 136, 138))
    else:
        shape(((-0.5, -1.3), (0.5, -1.3), (0.5, 1.3), (-0.5, 1.3)), (30, 34, 36))
        bulbs = ((50, 50, 235), (40, 190, 250), (110, 220, 60))
        for i, bulb in enumerate(bulbs):
            tone = scaled(bulb, 1.0 if i == lamp else 0.3)
            canvas.ellipse(u, v - (0.8 - 0.8 * i) * half, 0.3 * half, 0.3 * half, tone, key)
