"""Layout of the procedural street scenes: the position of every object, in metres.

The ``sample_`` functions draw the parameters of a whole scene; the ``plan_`` functions fill it
from near to far. Nothing here depends on the size of the image.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from mmkd.datasets.street_scenes.renderer.buildings import Building, draw_building
from mmkd.datasets.street_scenes.renderer.canvas import Camera, Light, Scene, scaled
from mmkd.datasets.street_scenes.renderer.furniture import (
    draw_fence,
    draw_hedge,
    draw_pole,
    draw_sign,
    draw_tree,
)
from mmkd.datasets.street_scenes.renderer.ground import Roadway
from mmkd.datasets.street_scenes.renderer.traffic import draw_car, draw_cyclist, draw_pedestrian

_DEPTH = 105.0  # metres of street with objects


class Items(list):
    """Objects to paint, as (depth, draw, args), without those outside the image."""

    def __init__(self, camera: Camera, width: int) -> None:
        super().__init__()
        self._camera, self._width = camera, width

    def add(self, draw: Callable, *args, points, margin: float = 0.0, depth=None) -> None:
        """Plan the call ``draw(scene, *args)``.

        Args:
            points: ground points (x, z) between which the object stands, metres.
            margin: metres that it reaches beyond them sideways.
            depth: Z that decides who hides whom; by default that of the last point.
        """
        left = right = None
        for x, z in points:
            u, _, scale = self._camera.foot(x, max(z, 0.6))
            low, high = u - margin * scale, u + margin * scale
            left = low if left is None else min(left, low)
            right = high if right is None else max(right, high)
        if right >= 0 and left <= self._width:
            self.append((points[-1][1] if depth is None else depth, draw, args))

    def paint(self, scene: Scene) -> None:
        """Draw everything, the farthest first."""
        for _, draw, args in sorted(self, key=lambda item: -item[0]):
            draw(scene, *args)


def sample_light(rng: np.random.Generator) -> Light:
    mood = rng.choice(5, p=(0.34, 0.26, 0.18, 0.12, 0.10))
    warm = rng.uniform(-0.08, 0.08)
    jitter = rng.uniform(0.92, 1.08, 3).tolist()
    side, reach = (-1 if rng.random() < 0.5 else 1), rng.uniform(0.25, 1.5)
    strength, cloud, air = rng.random(3).tolist()
    # zenith, skyline, tint (BGR), least and most sun, haze range in metres, cloud cover
    zenith, skyline, tint, sun, air_range, cover = (
        ((196, 136, 72), (232, 214, 190), (0.94, 1.0, 1.04), (0.7, 1.0), (220, 700), (0.0, 0.6)),
        ((178, 170, 164), (214, 210, 206), (0.9, 0.88, 0.86), (0.0, 0.15), (130, 500), (0.6, 1.2)),
        ((176, 132, 104), (140, 186, 236), (0.72, 0.9, 1.08), (0.5, 0.95), (120, 400), (0.1, 0.8)),
        ((104, 70, 52), (128, 116, 150), (0.6, 0.5, 0.5), (0.0, 0.1), (120, 400), (0.1, 0.9)),
        ((186, 186, 184), (198, 198, 196), (0.86, 0.87, 0.87), (0.0, 0.1), (45, 110), (0.6, 1.2)),
    )[mood]

    def between(limits, share):
        return limits[0] + (limits[1] - limits[0]) * share

    skyline = tuple(float(min(c * j, 250)) for c, j in zip(skyline, jitter, strict=True))
    return Light(
        sun=between(sun, strength),
        side=side,
        reach=reach,
        tint=(tint[0] * (1 - warm), tint[1], tint[2] * (1 + warm)),
        haze=scaled(skyline, 0.92),
        visibility=between(air_range, air * air),
        zenith=tuple(float(c * j) for c, j in zip(zenith, jitter, strict=True)),
        skyline=skyline,
        cloud=between(cover, cloud),
        lamps=bool(mood == 3),
    )


def sample_road(rng: np.random.Generator, light: Light) -> Roadway:
    lanes, lane = 2 + int(rng.choice(3, p=(0.5, 0.3, 0.2))), rng.uniform(2.9, 3.5)
    parking = rng.uniform(0.2, 2.3, 2).tolist()
    # The camera's car keeps to the right half.
    right = (lanes // 2) * lane - lane / 2 + rng.uniform(-0.4, 0.4) + parking[1]
    left = right - parking[1] - lanes * lane - parking[0]
    walks = tuple(rng.uniform(2.2, 5.5, 2).tolist())
    lawns = tuple(bool(b) for b in rng.random(2) < 0.4)
    near = rng.uniform(12.0, 45.0)
    crossing = (near, near + rng.uniform(6.5, 10.0)) if rng.random() < 0.4 else (-2.0, -1.0)
    zebra = rng.random()
    if crossing[0] > 0:
        zebra_at = crossing[0] - 4.5 if zebra < 0.7 else -1.0
    else:
        zebra_at = 8.0 + 60.0 * zebra if zebra < 0.3 else -1.0
    grey, cast, pale = rng.uniform(58, 128), rng.uniform(-7, 7), rng.uniform(0.85, 1.65)
    asphalt = (grey + cast, grey, grey - cast)
    paving_cast = rng.uniform(-4, 16)
    base = min(grey * pale, 176.0)
    storeys = rng.uniform(5.0, 14.0)
    kerb = right + walks[1] if light.side > 0 else left - walks[0]
    return Roadway(
        left=left,
        right=right,
        lanes=tuple(left + parking[0] + lane * k for k in range(1, lanes)),
        walks=walks,
        lawns=lawns,
        crossing=crossing,
        zebra=zebra_at,
        asphalt=asphalt,
        paving=(base - paving_cast * 0.6, base, base + paving_cast),
        shaded=kerb - light.side * storeys * light.reach * 0.8,
    )


def sample_camera(rng: np.random.Generator, height: int, width: int) -> Camera:
    # The image plane is measured in widths, so the size does not change the scene.
    unit = max(width, height * 4 / 3)
    return Camera(
        focal=unit * rng.uniform(0.66, 0.95),
        centre=width / 2 + unit * rng.uniform(-0.16, 0.16),
        horizon=height / 2 + unit * rng.uniform(-0.1, 0.045),
        height=rng.uniform(1.35, 2.5),
        bend=rng.uniform(-0.0028, 0.0028) if rng.random() < 0.5 else 0.0,
    )


def plan_plots(scene: Scene, road: Roadway, items: Items) -> None:
    """Plan buildings, gardens and parks behind both pavements, from near to far."""
    rng = scene.rng
    kinds = ('terrace', 'suburb', 'park')
    winter = rng.random() < 0.2
    for side in (-1, 1):
        edge = road.right + road.walks[1] if side > 0 else road.left - road.walks[0]
        kind = kinds[rng.choice(3, p=(0.52, 0.33, 0.15))]
        tall = rng.uniform(6.0, 19.0)
        style = scene.pick(('pickets', 'railing', 'ranch', 'mesh', 'boards', 'railing'))
        z, open_before = rng.uniform(1.5, 5.0), True
        while z < _DEPTH:
            near, far = z, z + rng.uniform(6.0, 17.0) * (1.0 + z / 80.0)
            share, depth = rng.random(2).tolist()
            gap = road.crossing[0] - 1.0 < far and near < road.crossing[1] + 1.0
            if gap and near >= road.crossing[0] - 1.0:
                z, open_before = road.crossing[1] + rng.uniform(1.0, 3.0), True
                continue
            if gap:
                far = max(road.crossing[0] - 1.0, near + 1.0)
            if kind == 'terrace' and share < 0.82 or kind == 'suburb' and share < 0.1:
                setback, pitched = 0.8 * depth * (share < 0.3), rng.random() < 0.35
                rise = max(4.5, tall * rng.uniform(0.65, 1.3))
                house = Building(
                    edge + side * setback, near, far, rise, pitched, open_before or setback > 0.2
                )
                _plan_building(items, house)
                open_before = False
            else:
                _plan_garden(scene, items, side, edge, near, far, kind, style, winter)
                open_before = True
            z = far + (rng.uniform(1.0, 5.0) if rng.random() < 0.25 else 0.0)
    _plan_backdrop(scene, items)


def _plan_building(items: Items, house: Building) -> None:
    outer = house.front + math.copysign(7.0, house.front)
    points = ((outer, house.near), (house.front, house.near), (house.front, house.far))
    items.add(draw_building, house, points=points)


def _plan_garden(scene: Scene, items: Items, side, edge, near, far, kind, style, winter) -> None:
    """Plan an open plot: a boundary along the pavement, trees, perhaps a house at the back."""
    rng = scene.rng
    boundary = rng.random()
    edge += side * 0.15
    if boundary < 0.8:
        panels = max(1, round((far - near) / 3.5)) if near < 40 else 1
        stops = np.linspace(near, far, panels + 1).tolist()
        hedge = rng.uniform(0.7, 1.9)
        for a, b in zip(stops[:-1], stops[1:], strict=True):
            ground = (edge, a, 1.0, (edge, b))
            if boundary < 0.62:
                items.add(draw_fence, *ground, style, points=((edge, a), (edge, b)))
            else:
                items.add(draw_hedge, *ground, hedge, points=((edge, a), (edge, b)))
    if kind != 'park' and rng.random() < 0.75:
        back = edge + side * rng.uniform(3.5, 9.0)
        inset = 0.12 * (far - near)
        house = Building(back, near + inset, far - inset, rng.uniform(3.5, 7.0), True, True)
        _plan_building(items, house)
    if rng.random() < 0.3:  # a fence across the plot, seen face on
        ground = (edge, far - 0.2, 1.0, (edge + side * rng.uniform(4, 10), far - 0.2))
        items.add(draw_fence, *ground, style, points=(ground[:2], ground[3]))
    for _ in range(rng.integers(0, 3) + 2 * (kind == 'park')):
        x, z = edge + side * rng.uniform(1.0, 9.0), rng.uniform(max(near, 4.0), max(far, 4.5))
        height = rng.uniform(3.0, 10.0)
        tree = (x, z, 0.9, height, height * rng.uniform(0.5, 0.9), winter and rng.random() < 0.8)
        items.add(draw_tree, *tree, points=(tree[:2],), margin=tree[4] / 2)


def _plan_backdrop(scene: Scene, items: Items) -> None:
    """Plan the objects that close the view at the far end of the street."""
    rng = scene.rng
    for z in (230.0, 190.0, 160.0):
        for _ in range(6):
            x, wide = rng.uniform(-110, 110), rng.uniform(15, 45)
            house = Building(x, z, z + 1.0, rng.uniform(6, 26), False, True)
            height = rng.uniform(8.0, 15.0)
            tree = (x, z, 0.8, height, wide * 0.6, False)
            if rng.random() < 0.6:
                _plan_building(items, house)
            else:
                items.add(draw_tree, *tree, points=(tree[:2],), margin=tree[4] / 2)


def _gain(scene: Scene, road: Roadway, x: float, z: float) -> float:
    return float(road.shade(scene.light, x, z)) * 0.4 + 0.6


def plan_furniture(scene: Scene, road: Roadway, items: Items) -> None:
    """Plan lamps, bollards, signs, street trees and guard rails on the pavements."""
    rng = scene.rng
    winter = rng.random() < 0.15
    for side in (-1, 1):
        kerb = road.right if side > 0 else road.left
        walk = road.walks[side > 0]
        lamps, trees, bollards, rail = rng.random(4) < (0.75, 0.46, 0.22, 0.3)
        x = kerb + side * rng.uniform(0.35, 0.7)
        if lamps:
            tall, girth, spacing = rng.uniform((5.0, 0.13, 15.0), (9.0, 0.24, 32.0)).tolist()
            arm = -side * rng.uniform(0.8, 2.4)
            for z in np.arange(rng.uniform(4.0, 14.0), _DEPTH, spacing).tolist():
                post = (x, z, _gain(scene, road, x, z), tall, girth, arm)
                items.add(draw_pole, *post, points=(post[:2],), margin=abs(post[5]) + 0.7)
        if trees:
            spacing, tall = rng.uniform((7.0, 3.5), (18.0, 8.0)).tolist()
            for z in np.arange(rng.uniform(6.0, 16.0), _DEPTH, spacing).tolist():
                spread = tall * rng.uniform(0.45, 0.75)
                tree = (x + side * 0.4, z, _gain(scene, road, x, z))
                tree += (tall * rng.uniform(0.8, 1.25), spread, winter)
                items.add(draw_tree, *tree, points=(tree[:2],), margin=tree[4] / 2)
        if bollards:
            start = rng.uniform(6.0, 25.0)
            for z in np.arange(start, start + 18.0, 2.4).tolist():
                post = (x - side * 0.1, z, _gain(scene, road, x, z), 1.0, 0.16, 0.0)
                items.add(draw_pole, *post, points=(post[:2],), margin=0.2)
        if rail:
            start = rng.uniform(5.0, 20.0)
            for z in np.arange(start, start + rng.uniform(8, 22), 3.0).tolist():
                ground = (kerb + side * 0.3, z, _gain(scene, road, kerb, z))
                ground += ((kerb + side * 0.3, z + 3.0),)
                items.add(
                    draw_fence, *ground, 'railing', points=(ground[:2], ground[3]), depth=z + 1.5
                )
        kinds = ('disc', 'triangle', 'square', 'board', 'octagon', 'back', 'lights', 'disc')
        for _ in range(rng.integers(1, 4)):
            z = 5.0 + 40.0 * rng.random() ** 1.4
            sign_x = kerb + side * rng.uniform(0.3, min(walk, 2.0))
            sign = (sign_x, z, _gain(scene, road, sign_x, z), scene.pick(kinds))
            sign += (rng.uniform(0.6, 1.0),)
            items.add(draw_sign, *sign, points=(sign[:2],), margin=0.8)
        if road.crossing[0] > 0 and rng.random() < 0.6:
            sign = (x, road.crossing[0] - 1.0, 1.0, 'lights', 0.85)
            items.add(draw_sign, *sign, points=(sign[:2],), margin=0.8)


def _shadow(scene: Scene, contact: np.ndarray, x, z, half_width, half_length, depth) -> None:
    """Darken the ground under and, in the sun, beside an object."""
    light = scene.light
    reach = -light.side * light.reach * light.sun * 1.2
    left, right = x - half_width + min(reach, 0.0), x + half_width + max(reach, 0.0)
    near, far = max(z - half_length, 0.8), z + half_length
    corners = scene.camera.project([left, right, right, left], 0.0, [near, near, far, far])
    patch = np.rint(np.clip(corners, -4e3, 4e3)).astype(np.int32)
    cv2.fillConvexPoly(contact, patch, int(depth))


def plan_traffic(scene: Scene, road: Roadway, items: Items, contact: np.ndarray) -> None:
    """Plan parked, driving and crossing cars."""
    rng = scene.rng

    def add(x, z, heading, body):
        gain = _gain(scene, road, x, z)
        along = abs(math.cos(heading))
        half_length = (2.3 if body < 5 else 5.2) * along + 0.95 * (1 - along)
        half_width = 0.95 * along + 2.3 * (1 - along)
        _shadow(scene, contact, x, z, half_width, half_length, 120 + 40 * scene.light.sun)
        car = (x, z, gain, heading, body)
        ends = ((x, z - half_length), (x, z + half_length))
        items.add(draw_car, *car, points=ends, margin=half_width + 0.3, depth=z)

    def body():
        return int(rng.choice(6, p=(0.28, 0.24, 0.18, 0.14, 0.12, 0.04)))

    for side in (-1, 1):
        kerb = road.right if side > 0 else road.left
        busy = rng.choice((0.0, 0.3, 0.8), p=(0.3, 0.35, 0.35))
        heading = 0.0 if side > 0 or rng.random() < 0.4 else math.pi
        z = rng.uniform(4.5, 9.0)
        while z < 65.0:
            blocked = road.crossing[0] - 4 < z < road.crossing[1] + 4 or abs(z - road.zebra) < 4
            x, kind = kerb - side * rng.uniform(1.0, 1.25), min(body(), 4)
            if rng.random() < busy and not blocked:
                add(x, z, heading + rng.normal(0.0, 0.03), kind)
            z += rng.uniform(5.6, 8.0)
    centres = (road.lanes[0] - 1.6, *(lane + 1.6 for lane in road.lanes))
    for k, x in enumerate(centres):
        away = k >= len(centres) / 2
        density = rng.uniform(0.0, 0.55)
        z = rng.uniform(7.0, 14.0) if away and abs(x) < 2 else rng.uniform(4.0, 12.0)
        while z < 90.0:
            offset, kind = rng.uniform(-0.4, 0.4), body()
            if rng.random() < density:
                add(x + offset, z, (0.0 if away else math.pi) + rng.normal(0.0, 0.03), kind)
                z += 8.0
            z += rng.uniform(6.0, 18.0)
    if road.crossing[0] > 0:
        for _ in range(rng.integers(0, 3)):
            ahead = rng.random() < 0.5
            z = road.crossing[0] + (road.crossing[1] - road.crossing[0]) * (0.7 if ahead else 0.3)
            x, turn = rng.uniform(-14, 14), rng.normal(0.0, 0.15)
            add(x, z, (-1 if ahead else 1) * math.pi / 2 + turn, body())


def plan_people(scene: Scene, road: Roadway, items: Items, contact: np.ndarray) -> None:
    """Plan pedestrians on the pavements and crossing, and cyclists at the kerb and in lanes."""
    rng = scene.rng
    for _ in range(rng.poisson(3.6)):
        z = 4.5 + 38.0 * rng.random() ** 1.5
        side = -1 if rng.random() < 0.5 else 1
        kerb, walk = (road.right if side > 0 else road.left), road.walks[side > 0]
        x = kerb + side * rng.uniform(0.4, walk - 0.3)
        turned = 0.0 if rng.random() < 0.6 else 1.0
        if rng.random() < 0.2:
            x, turned = rng.uniform(road.left, road.right), 1.0
            z = road.zebra + 1.5 if road.zebra > 0 and rng.random() < 0.7 else max(z, 7.0)
        turned *= -1 if rng.random() < 0.5 else 1
        for _ in range(1 + (rng.random() < 0.3)):
            height = rng.uniform(1.55, 1.9) if rng.random() < 0.85 else rng.uniform(1.0, 1.4)
            person = (x, z, _gain(scene, road, x, z), height, turned)
            _shadow(scene, contact, x, z, 0.22, 0.2, 90)
            items.add(draw_pedestrian, *person, points=((x, z),), margin=0.5)
            x, z = x + rng.uniform(0.5, 0.8), z + rng.uniform(-0.3, 0.5)
    for _ in range(rng.poisson(1.5)):
        z = 5.0 + 30.0 * rng.random() ** 1.4
        side = -1 if rng.random() < 0.4 else 1
        kerb = road.right if side > 0 else road.left
        x = kerb - side * rng.uniform(2.2, 3.6)  # clear of parked cars
        heading = (0.0 if side > 0 else math.pi) + rng.normal(0.0, 0.25)
        if rng.random() < 0.35:
            heading = math.copysign(math.pi / 2, rng.random() - 0.5) + rng.normal(0.0, 0.4)
            x = rng.uniform(road.left - 2.0, road.right + 2.0)
        rider = (x, z, _gain(scene, road, x, z), heading)
        _shadow(scene, contact, x, z, 0.3, 0.6, 90)
        items.add(draw_cyclist, *rider, points=((x, z),), margin=1.0)
