"""Procedural street scenes: one call renders one labelled image.

A scene is laid out in metres (a street with pavements, plots on either side, furniture,
traffic), then painted from far to near. One RNG, seeded with (split, index), draws everything; the
global RNG is neither used nor changed.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from mmkd.datasets.camvid_classes import CLASSES
from mmkd.datasets.street_scenes.renderer.canvas import Canvas, Scene
from mmkd.datasets.street_scenes.renderer.ground import paint_ground, paint_sky
from mmkd.datasets.street_scenes.renderer.layout import (
    Items,
    plan_furniture,
    plan_people,
    plan_plots,
    plan_traffic,
    sample_camera,
    sample_light,
    sample_road,
)
from mmkd.datasets.street_scenes.renderer.textures import crop_noise
from mmkd.errors import UserError, check_choice, check_integer

SPLITS = ('train', 'val')
MIN_BOX_PIXELS = 16  # objects with fewer visible pixels do not get a box


@dataclass(frozen=True)
class Street:
    """One rendered scene.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        label: (H, W) uint8, an index into ``CLASSES`` for every pixel.
        instances: (H, W) uint8, k + 1 on the visible pixels of object k, 0 elsewhere.
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels around the visible pixels of each sign,
            car, pedestrian and cyclist; x2 and y2 are one past the last pixel.
        box_labels: (n,) int64, an index into ``CLASSES``.
    """

    image: np.ndarray
    label: np.ndarray
    instances: np.ndarray
    boxes: np.ndarray
    box_labels: np.ndarray


def render_street(index: int, split: str = 'train', size: tuple[int, int] = (192, 256)) -> Street:
    """Render scene ``index`` of ``split`` at ``size`` (height, width) in pixels.

    The same arguments give the same bytes in every process. Another size shows the same
    scene with more or less detail.

    Raises:
        UserError: The split is unknown, the index is negative or the size is not positive.
    """
    check_integer('index', index, least=0)
    check_scenes(split, index + 1, size)
    rng = np.random.default_rng([SPLITS.index(split), index])
    height, width = size
    light = sample_light(rng)
    road = sample_road(rng, light)
    camera = sample_camera(rng, height, width)
    scene = Scene(Canvas(height, width), camera, light, rng)

    contact = np.zeros(size, np.uint8)
    items = Items(camera, width)
    plan_plots(scene, road, items)
    plan_furniture(scene, road, items)
    plan_traffic(scene, road, items, contact)
    plan_people(scene, road, items, contact)

    blur = max(3, round(width / 80) | 1)
    contact = cv2.GaussianBlur(contact, (blur, blur), 0)
    paint_sky(scene)
    paint_ground(scene, road, contact)
    items.paint(scene)
    image = _expose(scene)
    return Street(image, *_annotate(scene.canvas))


def check_scenes(split: str, length: int, size: tuple[int, int]) -> None:
    """Raise :class:`UserError` unless a dataset can have ``length`` scenes of this ``size``."""
    check_choice('split', split, SPLITS)
    if len(size) != 2 or not all(isinstance(n, int) and n >= 1 for n in size):
        raise UserError(f'size={size!r}: expected (height, width) of at least 1 pixel each')
    check_integer('length', length, least=1)


def _expose(scene: Scene) -> np.ndarray:
    """Apply the camera's effects: lens blur, exposure, vignette, sensor noise."""
    rng = scene.rng
    height, width = scene.canvas.shape
    softness, gain, gamma = rng.uniform((0.25, 0.72, 0.82), (0.85, 1.22, 1.22)).tolist()
    grain, speckle, falloff = rng.uniform((1.0, 0.0, 0.0), (5.5, 0.05, 0.32)).tolist()
    image = cv2.cvtColor(scene.canvas.pixels, cv2.COLOR_BGRA2BGR)
    sigma = softness * max(width / 256, 0.5)
    image = cv2.GaussianBlur(image, (0, 0), sigma)
    curve = 255.0 * gain * (np.arange(256) / 255.0) ** gamma
    image = cv2.LUT(image, np.clip(curve, 0, 255).astype(np.uint8))

    v, u = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    shade = (1.0 - falloff * 0.5 * (v * v + u * u)).astype(np.float32)
    shade += speckle * crop_noise(rng, (height, width), 0.6, 8)
    picture = np.empty(image.shape, np.float32)
    for channel in range(3):
        noise = crop_noise(rng, (height, width), 0.0, 9)
        picture[..., channel] = cv2.scaleAdd(noise, grain, image[..., channel] * shade)
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)


def _annotate(canvas: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return label map, instance map, boxes and box labels from the canvas's keys."""
    keys = np.ascontiguousarray(canvas.pixels[..., 3])
    class_of_key = np.zeros(256, np.uint8)
    class_of_key[: len(canvas.class_of_key)] = canvas.class_of_key
    instance_of_key = np.zeros(256, np.uint8)
    boxes, labels = [], []
    # Pixels of the objects, sorted by object, so that each is one run of the arrays.
    place = np.flatnonzero(keys >= len(CLASSES))
    key_of = keys.ravel()[place]
    order = np.argsort(key_of, kind='stable')
    place, key_of = place[order], key_of[order]
    bounds = np.flatnonzero(np.diff(key_of, prepend=0, append=0))
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        if stop - start < MIN_BOX_PIXELS:
            continue
        v, u = np.divmod(place[start:stop], keys.shape[1])
        boxes.append((u.min(), v[0], u.max() + 1, v[-1] + 1))
        labels.append(class_of_key[key_of[start]])
        instance_of_key[key_of[start]] = len(boxes)
    return (
        cv2.LUT(keys, class_of_key),
        cv2.LUT(keys, instance_of_key),
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(labels, np.int64),
    )
