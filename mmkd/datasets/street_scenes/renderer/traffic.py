"""Cars, pedestrians and cyclists of the procedural street scenes.

Every function draws one object at (x, z) of the street, in metres: ``x`` from the camera, ``z``
ahead. ``gain`` is the share of light that reaches that point.
"""

import math

import numpy as np

from mmkd.datasets.street_scenes.renderer.canvas import BICYCLIST, CAR, PEDESTRIAN, Scene, scaled

# BGR
PAINTS = (
    (225, 225, 225),
    (178, 178, 176),
    (122, 122, 124),
    (84, 84, 86),
    (36, 36, 38),
    (110, 62, 34),
    (44, 40, 150),
    (64, 84, 50),
    (130, 150, 160),
    (48, 72, 104),
    (150, 110, 60),
    (40, 170, 205),
)
CLOTHES = (
    (38, 36, 36),
    (80, 60, 48),
    (104, 74, 52),
    (120, 118, 116),
    (170, 172, 174),
    (222, 222, 224),
    (60, 60, 160),
    (70, 120, 80),
    (90, 130, 170),
    (150, 110, 60),
    (60, 150, 200),
    (60, 80, 110),
)
_SKIN = ((150, 178, 222), (116, 146, 196), (84, 108, 156), (52, 70, 104))
# Faces of a prism by corner, and how much light each takes. Corners 0..3 are the bottom
# (rear left, rear right, front right, front left), 4..7 the top in the same order.
_FACES = {
    'rear': (0, 1, 5, 4, 0.78),
    'right': (1, 2, 6, 5, 0.92),
    'front': (2, 3, 7, 6, 0.84),
    'left': (3, 0, 4, 7, 0.92),
    'top': (4, 5, 6, 7, 1.15),
}
_RIM = [(math.cos(k * math.pi / 6), math.sin(k * math.pi / 6)) for k in range(12)]
# length, width, height of the belt line and of the roof, rear and front inset of the
# cabin at the belt and at the roof as shares of the length
_BODIES = (
    (4.1, 1.78, 0.92, 1.48, 0.02, 0.26, 0.14, 0.46),
    (4.6, 1.82, 0.90, 1.44, 0.14, 0.28, 0.28, 0.46),
    (4.7, 1.92, 1.08, 1.74, 0.01, 0.24, 0.07, 0.40),
    (4.6, 1.82, 0.92, 1.50, 0.01, 0.26, 0.06, 0.46),
    (5.4, 2.02, 1.25, 2.30, 0.00, 0.16, 0.02, 0.26),
    (10.5, 2.50, 1.20, 3.10, 0.00, 0.00, 0.01, 0.01),
)


def draw_car(scene: Scene, x: float, z: float, gain: float, heading: float, body: int) -> None:
    """Draw a car, van or bus; ``heading`` 0 drives away, pi comes towards the camera.

    Args:
        body: row of ``_BODIES``: hatchback, saloon, off-roader, estate, van, bus.
    """
    canvas, camera, light = scene.canvas, scene.camera, scene.light
    length, width, belt, roof, rear_low, front_low, rear_top, front_top = _BODIES[body]
    paint = scene.pick(PAINTS)
    sky = scene.rng.uniform(0.15, 0.5)
    sin, cos = math.sin(heading), math.cos(heading)
    key = canvas.new_key(CAR)
    scale = camera.focal / z
    detailed = scale > 4.0  # farther away, lamps, plates and seams are finer than a pixel

    def world(forward, right, up):
        return camera.point(x + forward * sin + right * cos, up, z + forward * cos - right * sin)

    def prism(rear, front, half, bottom, rear_t, front_t, half_t, top):
        low = ((rear, -half), (rear, half), (front, half), (front, -half))
        high = ((rear_t, -half_t), (rear_t, half_t), (front_t, half_t), (front_t, -half_t))
        return [world(f, r, bottom) for f, r in low] + [world(f, r, top) for f, r in high]

    def visible(corners):
        for name, (i, j, k, m, shade) in _FACES.items():
            a, b, c, d = corners[i], corners[j], corners[k], corners[m]
            if (c[0] - a[0]) * (d[1] - b[1]) < (c[1] - a[1]) * (d[0] - b[0]):
                lit = {'left': -1, 'right': 1}.get(name, 0) * cos * light.side
                yield name, (a, b, c, d), shade * (1.0 + 0.22 * light.sun * lit)

    def paint_quad(quad, colour, shade):
        canvas.fill(quad, light.tone(colour, z, gain * shade), key)

    half = length / 2
    under = prism(-half + 0.12, half - 0.12, width / 2 - 0.1, 0.12, -half, half, width / 2, 0.36)
    for _, quad, _ in visible(under) if scale > 2.5 else ():
        paint_quad(quad, (16, 16, 18), 1.0)
    wheel = 0.3 if body < 4 else 0.4
    end = half - 0.5 if cos < 0 else 0.5 - half
    for side in (-1, 1):  # tyres seen from behind or from the front
        inner, outer = side * (width / 2 - 0.25), side * (width / 2 - 0.03)
        tyre = [world(end, r, up) for r, up in ((inner, 0), (outer, 0), (outer, 0.5), (inner, 0.5))]
        if abs(sin) < 0.95:
            paint_quad(tyre, (22, 22, 24), 1.0)

    hull = prism(-half, half, width / 2, 0.32, -half + 0.06, half - 0.16, width / 2 - 0.04, belt)
    for name, quad, shade in visible(hull):
        paint_quad(quad, paint, shade)
        if name == 'top' or not detailed and name != 'left' and name != 'right':
            continue
        if name == 'rear':
            glow = (40, 40, 235) if light.lamps else (38, 34, 170)
            paint_quad(_part(quad, 0, 1, 0, 0.3), scaled(paint, 0.55), shade)
            for s in (0.02, 0.8):
                tone = light.tone(glow, z, max(gain, 0.8))
                canvas.fill(_part(quad, s, s + 0.18, 0.55, 0.88), tone, key)
            paint_quad(_part(quad, 0.34, 0.66, 0.36, 0.58), (190, 200, 205), shade)
        elif name == 'front':
            glow = (225, 250, 255) if light.lamps else (205, 212, 214)
            paint_quad(_part(quad, 0.24, 0.76, 0.22, 0.62), (26, 26, 28), shade)
            for s in (0.03, 0.77):
                canvas.fill(_part(quad, s, s + 0.2, 0.55, 0.86), light.tone(glow, z, 1.1), key)
            paint_quad(_part(quad, 0.36, 0.64, 0.06, 0.2), (200, 205, 205), shade)
        else:
            paint_quad(_part(quad, 0, 1, 0, 0.28), scaled(paint, 0.6), shade)
            if detailed:
                seams = [_part(quad, s, s, 0.1, 0.98)[1:3] for s in (0.36, 0.62)]
                canvas.lines(seams, light.tone(scaled(paint, 0.5), z, gain * shade), key)
            right = (1 if name == 'right' else -1) * (width / 2 + 0.01)
            parts = ((wheel + 0.06, (14, 14, 16)), (wheel * 0.62, (120, 122, 124)))
            for centre in (-half * 0.62, half * 0.64):
                for radius, rubber in parts[: 2 if detailed else 1]:
                    rim = [world(centre + radius * c, right, wheel + radius * s) for c, s in _RIM]
                    canvas.fill(rim, light.tone(rubber, z, gain), key)

    tuck = 0.22 if body < 4 else 0.1
    cabin = prism(
        rear_low * length - half,
        half - front_low * length,
        width / 2 - 0.05,
        belt - 0.02,
        rear_top * length - half,
        half - front_top * length,
        width / 2 - tuck,
        roof,
    )
    glass = tuple((1 - sky) * d + sky * h for d, h in zip((40, 36, 32), light.skyline, strict=True))
    for name, quad, shade in visible(cabin):
        paint_quad(quad, paint, shade)
        if name == 'top':
            continue
        pane = _part(quad, 0.08, 0.92, 0.08, 0.92)
        if body == 4 and name in ('left', 'right'):  # a panel van does not have rear side windows
            s = (0.68, 0.95) if name == 'right' else (0.05, 0.32)
            pane = _part(quad, *s, 0.35, 0.9)
        elif body == 4 and name == 'rear':
            pane = _part(quad, 0.12, 0.88, 0.5, 0.85)
        paint_quad(pane, glass, shade)
        if detailed and name in ('left', 'right') and body != 4:
            splits = (0.5,) if body < 4 else (0.17, 0.34, 0.5, 0.67, 0.84)
            bars = [_part(quad, s, s, 0.0, 1.0)[1:3] for s in splits]
            canvas.lines(bars, light.tone(paint, z, gain * shade), key, scale * 0.09)


def _part(quad, s0: float, s1: float, t0: float, t1: float) -> list[tuple[float, float]]:
    """Draw part of a face; s runs from its left to its right edge, t from bottom to top."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    return [
        (
            (1 - t) * ((1 - s) * ax + s * bx) + t * ((1 - s) * dx + s * cx),
            (1 - t) * ((1 - s) * ay + s * by) + t * ((1 - s) * dy + s * cy),
        )
        for s, t in ((s0, t0), (s1, t0), (s1, t1), (s0, t1))
    ]


def draw_pedestrian(
    scene: Scene, x: float, z: float, gain: float, height: float, side: float
) -> None:
    """Draw a walking person of ``height`` metres; ``side`` is -1 or 1 for a side view, else 0."""
    canvas, light, rng = scene.canvas, scene.light, scene.rng
    u, v, scale = scene.camera.foot(x, z)
    unit = scale * height
    key = canvas.new_key(PEDESTRIAN)
    coat, trousers, skin = scene.pick(CLOTHES), scene.pick(CLOTHES), scene.pick(_SKIN)
    stride = rng.uniform(0.02, 0.13) if side else rng.uniform(0.03, 0.05)
    swing, bag, skirt, hair = rng.uniform(-0.06, 0.06), rng.random(), rng.random(), rng.random()
    breadth = 0.085 if side else rng.uniform(0.115, 0.135)

    def draw(points, colour, shade=1.0):
        local = np.asarray(points) * (unit, -unit) + (u, v)
        canvas.fill(local, light.tone(colour, z, gain * shade), key)

    for foot, shade in ((-stride, 0.8), (stride, 1.0)):
        hip = 0.3 * foot if side else foot
        draw(
            (
                (hip - 0.055, 0.5),
                (hip + 0.055, 0.5),
                (foot + 0.035, 0.04),
                (foot + 0.05, 0.0),
                (foot - 0.04, 0.0),
                (foot - 0.035, 0.04),
            ),
            trousers,
            shade,
        )
    hem = 0.28 if skirt < 0.3 else 0.46
    arm = breadth + (0.02 if side else 0.045)
    if not side:
        for s in (-1, 1):
            draw(
                (
                    (s * breadth * 0.8, 0.81),
                    (s * arm, 0.78),
                    (s * arm + swing, 0.46),
                    (s * (arm - 0.04) + swing, 0.46),
                ),
                coat,
                0.72,
            )
    flare = 1.15 if hem < 0.4 else 0.9
    draw(
        (
            (-breadth, 0.8),
            (-0.4 * breadth, 0.84),
            (0.4 * breadth, 0.84),
            (breadth, 0.8),
            (breadth * flare, hem),
            (-breadth * flare, hem),
        ),
        coat,
    )
    if side:
        draw(((-0.03, 0.8), (0.035, 0.8), (swing * 2 + 0.03, 0.46), (swing * 2 - 0.02, 0.46)), coat)
    if bag < 0.35:
        out = breadth + 0.03 if bag < 0.2 else -breadth - 0.05
        draw(
            ((out - 0.05, 0.6), (out + 0.05, 0.6), (out + 0.05, 0.42), (out - 0.05, 0.42)),
            (58, 74, 92),
        )
    head = v - 0.925 * unit
    tone = light.tone(skin, z, gain)
    draw(((-0.03, 0.87), (0.03, 0.87), (0.035, 0.82), (-0.035, 0.82)), skin, 0.8)
    canvas.ellipse(u + side * 0.015 * unit, head, 0.055 * unit, 0.07 * unit, tone, key)
    if hair < 0.85:
        tone = light.tone(scaled((70, 90, 120), hair), z, gain)
        canvas.ellipse(u, head - 0.03 * unit, 0.057 * unit, 0.045 * unit, tone, key)


def draw_cyclist(scene: Scene, x: float, z: float, gain: float, heading: float) -> None:
    """Draw a rider on a bicycle; ``heading`` as for :func:`draw_car`."""
    canvas, light, rng = scene.canvas, scene.light, scene.rng
    u, v, scale = scene.camera.foot(x, z)
    key = canvas.new_key(BICYCLIST)
    shirt, shorts, skin = scene.pick(CLOTHES), scene.pick(CLOTHES), scene.pick(_SKIN)
    frame, helmet = scene.pick(PAINTS), scene.pick(PAINTS)
    pedal = rng.uniform(0, 2 * math.pi)
    turn = math.sin(heading)
    along = math.copysign(max(abs(turn), 0.07), turn)
    across = abs(math.cos(heading))

    def place(points):
        return np.asarray(points) * (along * scale, -scale) + (u, v)

    def stroke(points, colour, metres, shade=1.0):
        tone = light.tone(colour, z, gain * shade)
        canvas.lines([place(points)], tone, key, metres * scale)

    tyre = light.tone((24, 24, 26), z, gain)
    for axle in (-0.52, 0.52):
        (wu, wv) = place((axle, 0.34))
        if abs(along) > 0.4:
            canvas.ellipse(wu, wv, 0.33 * scale * abs(along), 0.33 * scale, tyre, key, 0.05 * scale)
        else:
            canvas.ellipse(wu, wv, max(0.33 * abs(along), 0.035) * scale, 0.34 * scale, tyre, key)
    stroke(((-0.52, 0.34), (-0.05, 0.32), (0.4, 0.78), (-0.18, 0.82), (-0.05, 0.32)), frame, 0.045)
    stroke(((-0.52, 0.34), (-0.18, 0.82)), frame, 0.035)
    stroke(((0.52, 0.34), (0.38, 0.98)), frame, 0.045)
    grip = max(0.27 * across, 0.04) * scale
    (bu, bv) = place((0.42, 1.02))
    canvas.lines([((bu - grip, bv), (bu + grip, bv))], tyre, key, 0.05 * scale)

    for phase, shade in ((pedal + math.pi, 0.75), (pedal, 1.0)):
        foot = (-0.05 + 0.16 * math.cos(phase), 0.3 + 0.16 * math.sin(phase))
        knee = (0.24 + 0.05 * math.cos(phase), 0.66 + 0.1 * math.sin(phase))
        lateral = 0.11 * across * scale * (1 if shade == 1.0 else -1)
        leg = place(((-0.18, 0.94), knee, foot)) + (lateral, 0)
        canvas.lines([leg[:2]], light.tone(shorts, z, gain * shade), key, 0.15 * scale)
        canvas.lines([leg[1:]], light.tone(skin, z, gain * shade), key, 0.1 * scale)
    if abs(along) <= 0.4:  # end on, the near wheel stands before the legs
        wu, wv = place((math.copysign(0.52, -math.cos(heading)), 0.34))
        canvas.ellipse(wu, wv, 0.045 * scale, 0.34 * scale, tyre, key)
    lean = place(((-0.2, 0.92), (0.2, 1.4)))
    broad = np.array([(0.1 + 0.1 * across) * scale, 0])
    torso = np.stack(
        [lean[0] - broad * 0.8, lean[1] - broad, lean[1] + broad, lean[0] + broad * 0.8]
    )
    for s in (-1, 1):
        reach = np.stack([lean[1] + s * broad * across, (bu + s * grip * 0.9, bv)])
        canvas.lines([reach], light.tone(shirt, z, gain * 0.8), key, 0.08 * scale)
    canvas.fill(torso, light.tone(shirt, z, gain), key)
    hu, hv = place((0.28, 1.57))
    canvas.ellipse(hu, hv, 0.09 * scale, 0.12 * scale, light.tone(skin, z, gain), key)
    canvas.ellipse(
        hu, hv - 0.05 * scale, 0.11 * scale, 0.085 * scale, light.tone(helmet, z, gain), key
    )
