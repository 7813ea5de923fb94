import hashlib
import importlib.util
import pickle
import random
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample
from torch.utils.data import DataLoader

from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.datasets.street_scenes.render_street import RenderStreet
from mmkd.datasets.street_scenes.renderer.canvas import (
    BICYCLIST,
    CAR,
    FENCE,
    PAVEMENT,
    PEDESTRIAN,
    POLE,
    ROAD,
    SIGN,
    SKY,
    TREE,
    Camera,
    Canvas,
    Light,
    Scene,
    _texture_to_quad,
)
from mmkd.datasets.street_scenes.renderer.ground import Roadway, paint_ground
from mmkd.datasets.street_scenes.renderer.layout import Items
from mmkd.datasets.street_scenes.renderer.renderer import MIN_BOX_PIXELS, _annotate, render_street
from mmkd.datasets.street_scenes.renderer.textures import TILE, crop_noise, noise_tile
from mmkd.datasets.street_scenes.renderer.traffic import draw_car, draw_pedestrian
from mmkd.datasets.street_scenes.street_scenes import StreetScenes
from mmkd.errors import UserError
from mmkd.registry import DATASETS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[3]
BOXED = {SIGN, CAR, PEDESTRIAN, BICYCLIST}
PIPELINE = [dict(type='mmkd.RenderStreet'), dict(type='PackSegInputs')]


def _digest(street):
    parts = (street.image, street.label, street.instances, street.boxes, street.box_labels)
    return hashlib.sha256(b''.join(part.tobytes() for part in parts)).hexdigest()


@pytest.fixture(scope='module')
def streets():
    return [render_street(index, 'train') for index in range(60)]


@pytest.fixture
def daylight():
    """Light that leaves colours as they are."""
    white = (255.0, 255.0, 255.0)
    return Light(0.0, 1, 0.5, (1.0, 1.0, 1.0), white, 1e9, white, white, 0.0, False)


# --- the same scene, always


def test_render_scene_depends_on_its_arguments_only():
    np.random.seed(0)
    first = _digest(render_street(5, 'val'))
    np.random.seed(1)
    random.seed(1)
    render_street(6, 'train')
    before = pickle.dumps((np.random.get_state(), random.getstate()))
    assert _digest(render_street(5, 'val')) == first
    assert pickle.dumps((np.random.get_state(), random.getstate())) == before


def test_render_scene_in_another_process_is_equal():
    code = (
        'import sys; sys.path[:0] = sys.argv[1:]\n'
        'from test_street_scenes import _digest, render_street\n'
        'render_street(3, "train", (64, 80))\n'
        'print("digest", _digest(render_street(5, "val")))'
    )
    command = [sys.executable, '-c', code, str(ROOT), str(Path(__file__).parent)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.split()[-1] == _digest(render_street(5, 'val'))


def test_render_scene_splits_and_indices_differ():
    scenes = [render_street(i, split, (48, 64)) for split in ('train', 'val') for i in range(8)]
    assert len({_digest(scene) for scene in scenes}) == 16
    for k, scene in enumerate(scenes[1:]):
        assert (scene.label != scenes[k].label).mean() > 0.05


@pytest.mark.parametrize('index', range(6))
def test_render_scene_of_another_size_shows_the_same(index):
    small = render_street(index, 'val', (192, 256))
    large = render_street(index, 'val', (384, 512))
    assert (large.label[::2, ::2] == small.label).mean() > 0.9
    halved = cv2.resize(large.image, (256, 192), interpolation=cv2.INTER_AREA)
    assert np.abs(halved.astype(float) - small.image).mean() < 14


@pytest.mark.parametrize('size', [(97, 131), (360, 480), (33, 200), (8, 8), (1, 1)])
def test_render_scene_any_size_works(size):
    for index in range(3):
        street = render_street(index, 'train', size)
        assert street.image.shape == (*size, 3)
        assert street.label.shape == street.instances.shape == size


# --- labels


def test_render_scene_labels_and_dtypes_are_valid(streets):
    for street in streets:
        assert street.image.dtype == street.label.dtype == street.instances.dtype == np.uint8
        assert street.boxes.dtype == np.float32 and street.boxes.shape[1:] == (4,)
        assert street.box_labels.dtype == np.int64
        assert len(street.boxes) == len(street.box_labels) == street.instances.max()
        assert street.label.max() < len(CLASSES)


@pytest.mark.parametrize('label', range(len(CLASSES)))
def test_street_scenes_each_class_is_frequent(streets, label):
    seen = [(street.label == label).sum() >= 20 for street in streets]
    assert np.mean(seen) >= 0.3
    share = np.mean([street.label == label for street in streets])
    thin = label in (POLE, SIGN, FENCE, PEDESTRIAN, BICYCLIST)
    assert 0.002 < share < 0.04 if thin else 0.03 < share < 0.45


def test_render_scene_sky_is_above_road(streets):
    rows = np.arange(192)[:, None]
    for street in streets:
        sky, road = street.label == SKY, street.label == ROAD
        assert (sky * rows).sum() / sky.sum() < (road * rows).sum() / road.sum()
        assert not sky[-1].any() and not road[0].any()
    brightness = [[s.image[s.label == c].mean() for c in (SKY, ROAD)] for s in streets]
    assert np.mean(np.diff(brightness) < 0) > 0.7


def _opened_share(streets, label, size):
    """Share of a class's pixels that a morphological opening leaves."""
    kernel = np.ones((size, size), np.uint8)
    masks = [(street.label == label).astype(np.uint8) for street in streets]
    left = sum(cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel).sum() for mask in masks)
    return left / sum(mask.sum() for mask in masks)


def test_render_scene_class_thickness_is_realistic(streets):
    assert _opened_share(streets, POLE, 7) < 0.25
    assert _opened_share(streets, FENCE, 7) < 0.5
    assert _opened_share(streets, ROAD, 7) > 0.9


def test_street_scenes_colour_does_not_determine_class(streets):
    # nearest mean colour over all pixels: a net has to look further than that
    pixels = np.concatenate([s.image[::4, ::4].reshape(-1, 3) for s in streets]).astype(float)
    labels = np.concatenate([s.label[::4, ::4].ravel() for s in streets])
    means = np.stack([pixels[labels == c].mean(0) for c in range(len(CLASSES))])
    guess = ((pixels[:, None] - means) ** 2).sum(-1).argmin(1)
    recall = [(guess[labels == c] == c).mean() for c in range(len(CLASSES))]
    assert np.mean(recall) < 0.4
    assert pixels.std() > 35  # yet pictures are far from flat


# --- boxes


def test_scene_boxes_are_tight(streets):
    for street in streets:
        for k, (box, label) in enumerate(zip(street.boxes, street.box_labels, strict=True), 1):
            rows, columns = np.nonzero(street.instances == k)
            tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert tuple(box) == tight
            assert len(rows) >= MIN_BOX_PIXELS
            assert label in BOXED
            assert (street.label[rows, columns] == label).all()
        assert (street.boxes >= 0).all() and (street.boxes <= (256, 192, 256, 192)).all()


def test_scene_boxes_cover_every_large_object(streets):
    for label in BOXED:
        of_class = [street.label == label for street in streets]
        boxed = [m & (s.instances > 0) for m, s in zip(of_class, streets, strict=True)]
        assert np.sum(boxed) > 0.9 * np.sum(of_class)


def test_scene_boxes_omit_hardly_visible_objects():
    canvas = Canvas(20, 20)
    for top, width in ((2, MIN_BOX_PIXELS - 1), (9, MIN_BOX_PIXELS)):
        patch = np.full((1, width, 4), canvas.new_key(CAR), np.uint8)
        canvas.paste(patch, patch[..., 0], 3, top)
    label, instances, boxes, box_labels = _annotate(canvas)
    assert (label == CAR).sum() == 2 * MIN_BOX_PIXELS - 1
    np.testing.assert_array_equal(boxes, [[3, 9, 3 + MIN_BOX_PIXELS, 10]])
    np.testing.assert_array_equal(box_labels, [CAR])
    assert set(np.unique(instances[9])) == {0, 1} and not instances[2].any()


def test_render_scene_near_objects_hide_far_ones(daylight):
    camera = Camera(focal=200.0, centre=64.0, horizon=40.0, height=1.5, bend=0.0)

    def keys(depths):
        scene = Scene(Canvas(96, 128), camera, daylight, np.random.default_rng(0))
        items = Items(camera, 128)
        for z in depths:
            items.add(draw_car, z - 10.0, z, 1.0, 0.0, 0, points=((z - 10.0, z),))
        items.paint(scene)
        return scene.canvas.pixels[..., 3]

    near, far = (keys([z]) > 0 for z in (10.0, 11.5))
    assert (near & far).sum() > 100 and (far & ~near).sum() > 10
    for order in ((10.0, 11.5), (11.5, 10.0)):
        both = keys(order)
        # the second key is handed out to what is painted last
        np.testing.assert_array_equal(both == len(CLASSES) + 1, near)
        np.testing.assert_array_equal(both == len(CLASSES), far & ~near)


# --- geometry and paint


def test_projection_equals_hand_value():
    camera = Camera(focal=100.0, centre=50.0, horizon=40.0, height=2.0, bend=0.01)
    # u = 50 + 100 * (3 + 0.01 * 10²) / 10, v = 40 + 100 * (2 - 0.5) / 10
    np.testing.assert_allclose(camera.project(3.0, 0.5, 10.0), (90.0, 55.0))
    assert camera.point(3.0, 0.5, 10.0) == pytest.approx((90.0, 55.0))
    assert camera.foot(3.0, 10.0) == pytest.approx((90.0, 60.0, 10.0))
    x, z = np.array([-2.0, 4.0]), np.array([5.0, 80.0])
    expected = [camera.point(a, 1.0, b) for a, b in zip(x, z, strict=True)]
    np.testing.assert_allclose(camera.project(x, 1.0, z), expected)


@pytest.mark.parametrize('z', [6.0, 12.0, 24.0])
def test_render_scene_person_height_follows_perspective(z, daylight):
    camera = Camera(focal=400.0, centre=100.0, horizon=60.0, height=1.5, bend=0.0)
    scene = Scene(Canvas(300, 200), camera, daylight, np.random.default_rng(0))
    draw_pedestrian(scene, 0.0, z, 1.0, 1.8, 0.0)
    rows, columns = np.nonzero(scene.canvas.pixels[..., 3])
    assert rows.max() == pytest.approx(60 + 400 * 1.5 / z, abs=1.5)
    assert rows.max() - rows.min() == pytest.approx(400 * 1.8 / z, rel=0.06)
    assert columns.mean() == pytest.approx(100, abs=2)


def test_haze_fades_to_its_colour_with_distance(daylight):
    light = Light(0, 1, 0, (1, 1, 1), (200, 180, 160), 50.0, (0, 0, 0), (0, 0, 0), 0, False)
    # one visibility away 1/e of the contrast is left
    e = np.exp(-1.0)
    expected = [100 * e + h * (1 - e) for h in light.haze]
    np.testing.assert_allclose(light.tone((100, 100, 100), 50.0), expected)
    np.testing.assert_allclose(daylight.tone((10, 20, 30), 5.0, 0.5), (5, 10, 15), atol=1e-4)


def _draw(primitive, canvas):
    colour, key = (10, 20, 30), CAR
    if primitive == 'fill':
        canvas.fill([(3.3, 4.1), (30.7, 9.2), (12.4, 37.9)], colour, key)
    elif primitive == 'lines':
        canvas.lines([[(1, 1), (38, 20)], [(2, 30), (35, 28)]], colour, key, 2)
    elif primitive == 'ellipse':
        canvas.ellipse(20.3, 15.6, 11.2, 5.5, colour, key)
    else:
        patch = np.full((9, 12, 4), (*colour, key), np.uint8)
        if primitive == 'paste':  # over the corner of the canvas
            canvas.paste(patch, (np.arange(108).reshape(9, 12) % 3 > 0).astype(np.uint8), -4, 35)
        else:
            canvas.texture(patch, [(5.2, 3.1), (30.5, 10.2), (28.3, 30.8), (6.1, 39.7)])


@pytest.mark.parametrize('primitive', ['fill', 'lines', 'ellipse', 'paste', 'texture'])
def test_paint_colour_and_label_share_the_mask(primitive):
    canvas = Canvas(40, 40)
    _draw(primitive, canvas)
    painted = (canvas.pixels[..., :3] == (10, 20, 30)).all(-1)
    assert 0 < painted.sum() < painted.size
    np.testing.assert_array_equal(canvas.pixels[..., 3], np.where(painted, CAR, 0))
    np.testing.assert_array_equal(canvas.pixels[~painted], 0)


def test_texture_on_wall_has_right_orientation():
    canvas = Canvas(40, 60)
    texture = np.zeros((10, 20, 4), np.uint8)
    texture[:5, :10], texture[:5, 10:], texture[5:, 10:], texture[5:, :10] = 50, 100, 150, 200
    canvas.texture(texture, [(10, 5), (50, 5), (50, 35), (10, 35)])
    quarters = [canvas.pixels[v, u, 0] for v, u in ((10, 20), (10, 40), (30, 40), (30, 20))]
    assert quarters == [50, 100, 150, 200]


def test_ground_between_kerbs_is_road(daylight):
    camera = Camera(focal=100.0, centre=80.0, horizon=30.0, height=1.5, bend=0.004)
    scene = Scene(Canvas(120, 160), camera, daylight, np.random.default_rng(0))
    road = Roadway(
        left=-4.0,
        right=5.0,
        lanes=(-1.0, 2.0),
        walks=(2.0, 3.0),
        lawns=(True, False),
        crossing=(10.0, 15.0),
        zebra=5.0,
        asphalt=(90.0, 90.0, 90.0),
        paving=(120.0, 120.0, 120.0),
        shaded=99.0,
    )
    paint_ground(scene, road, np.zeros((120, 160), np.uint8))
    v, u = np.mgrid[31:120, 0:160]
    z = 100 * 1.5 / (v - 30)
    x = (u - 80) * z / 100 - 0.004 * z**2
    expected = np.where(x < -6, TREE, PAVEMENT)
    expected[((x > -4) & (x < 5)) | ((z > 10) & (z < 15))] = ROAD
    label = scene.canvas.pixels[31:, :, 3]
    assert (label == expected).mean() > 0.995  # all but rounding at the kerbs
    # the white of lanes and crossing is there, and belongs to the road
    assert (scene.canvas.pixels[31:, :, 0][label == ROAD] > 180).mean() > 0.01


def test_instance_keys_belong_to_class_and_run_out_gracefully():
    canvas = Canvas(4, 4)
    keys = [canvas.new_key(PEDESTRIAN) for _ in range(300)]
    assert keys[0] == len(CLASSES) and keys[-1] == PEDESTRIAN and max(keys) == 255
    assert all(canvas.class_of_key[key] == PEDESTRIAN for key in keys)


def test_texture_homography_equals_opencv():
    corners = [(3.0, 2.0), (40.0, 11.0), (37.0, 30.0), (5.0, 45.0)]
    edge = np.float32([(0, 0), (20, 0), (20, 12), (0, 12)]) - 0.5  # outer edges of the texels
    expected = cv2.getPerspectiveTransform(edge, np.float32(corners))
    ours = _texture_to_quad(20, 12, corners)
    np.testing.assert_allclose(ours / ours[2, 2], expected, atol=1e-4)


def test_scene_objects_outside_picture_are_omitted():
    camera = Camera(focal=100.0, centre=50.0, horizon=40.0, height=2.0, bend=0.0)
    items = Items(camera, width=100)
    items.add(print, points=((6.0, 10.0),), margin=0.9)  # 110 - 9 px: just outside
    assert items == []
    items.add(print, points=((6.0, 10.0),), margin=1.1)
    items.add(print, points=((-30.0, 10.0), (30.0, 20.0)))  # spans the picture
    assert [depth for depth, _, _ in items] == [10.0, 20.0]


def test_noise_tile_has_unit_variance_and_no_seam():
    for roughness in (0.0, 0.6, 1.5):
        tile = noise_tile(roughness, 3)
        assert tile.mean() == pytest.approx(0, abs=1e-4) and tile.std() == pytest.approx(
            1, rel=1e-3
        )
        step = np.abs(np.diff(tile, axis=0)).mean()
        assert np.abs(tile[0] - tile[-1]).mean() == pytest.approx(step, rel=0.2)
    crop = crop_noise(np.random.default_rng(0), (TILE + 30, 20), 0.6)
    np.testing.assert_array_equal(crop[TILE:], crop[:30])


# --- the data set


def test_street_scenes_metainfo_equals_camvid():
    dataset = StreetScenes(length=1)
    assert dataset.metainfo['classes'] == (
        'Sky', 'Building', 'Pole', 'Road', 'Pavement', 'Tree', 'SignSymbol', 'Fence', 'Car',
        'Pedestrian', 'Bicyclist',
    )  # fmt: skip
    assert len({tuple(colour) for colour in dataset.metainfo['palette']}) == 11
    assert dataset.ignore_index == 255
    assert DATASETS.get('mmkd.StreetScenes') is StreetScenes
    assert TRANSFORMS.get('mmkd.RenderStreet') is RenderStreet


@pytest.mark.parametrize('split', ['train', 'val'])
def test_street_scenes_pipeline_packs_the_scene(split):
    dataset = StreetScenes(split=split, length=4, size=(60, 90), pipeline=PIPELINE)
    assert len(dataset) == 4
    packed, street = dataset[2], render_street(2, split, (60, 90))
    sample = packed['data_samples']
    assert isinstance(sample, SegDataSample)
    np.testing.assert_array_equal(packed['inputs'], street.image.transpose(2, 0, 1))
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0], street.label)
    assert sample.gt_sem_seg.data.dtype == torch.int64
    assert sample.img_shape == sample.ori_shape == (60, 90)


def test_street_scenes_augmentation_moves_labels_and_boxes():
    flip = dict(type='RandomFlip', prob=1.0)
    dataset = StreetScenes(length=9, pipeline=[dict(type='mmkd.RenderStreet'), flip])
    results, street = dataset[8], render_street(8, 'train')
    np.testing.assert_array_equal(results['img'], street.image[:, ::-1])
    np.testing.assert_array_equal(results['gt_seg_map'], street.label[:, ::-1])
    x1, y1, x2, y2 = street.boxes.T
    np.testing.assert_array_equal(
        results['gt_bboxes'], np.stack([256 - x2, y1, 256 - x1, y2], axis=1)
    )
    np.testing.assert_array_equal(results['gt_bboxes_labels'], street.box_labels)


def test_street_scenes_training_pipeline_keeps_known_labels_only():
    resize = dict(type='RandomResize', scale=(128, 96), ratio_range=(0.8, 1.8), keep_ratio=True)
    crop = dict(type='RandomCrop', crop_size=(64, 80), cat_max_ratio=0.75)
    pipeline = [PIPELINE[0], resize, crop, dict(type='RandomFlip', prob=0.5), PIPELINE[1]]
    dataset = StreetScenes(length=3, size=(96, 128), pipeline=pipeline)
    for packed in dataset:
        assert packed['inputs'].shape == (3, 64, 80)
        assert packed['data_samples'].gt_sem_seg.data.max() < 11


def test_street_scenes_chosen_classes_are_renumbered():
    chosen = dict(classes=('Car', 'Road', 'Pedestrian'))
    dataset = StreetScenes(length=3, metainfo=chosen, pipeline=[PIPELINE[0]])
    results, street = dataset[1], render_street(1, 'train')
    expected = np.full(street.label.shape, 255)
    for new, old in enumerate((CAR, ROAD, PEDESTRIAN)):
        expected[street.label == old] = new
    np.testing.assert_array_equal(results['gt_seg_map'], expected)
    kept = np.isin(street.box_labels, (CAR, PEDESTRIAN))
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_array_equal(results['gt_bboxes'], street.boxes[kept])
    expected = np.where(street.box_labels[kept] == CAR, 0, 2)
    np.testing.assert_array_equal(results['gt_bboxes_labels'], expected)


def test_street_scenes_reordered_classes_keep_their_colours():
    names = StreetScenes(length=1, metainfo=dict(classes=CLASSES[::-1])).metainfo
    assert names['palette'] == PALETTE[::-1]


def test_street_scenes_reduce_zero_label_is_rejected():
    with pytest.raises(UserError, match='reduce_zero_label=True: expected False, .* 0 is Sky'):
        StreetScenes(length=1, reduce_zero_label=True)


def test_street_scenes_workers_render_as_main_process():
    dataset = StreetScenes(split='val', length=6, size=(48, 64), pipeline=PIPELINE, indices=4)
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(copy) == 4
    loader = DataLoader(copy, batch_size=None, num_workers=2)
    for packed, expected in zip(loader, dataset, strict=True):
        assert torch.equal(packed['inputs'], expected['inputs'])


def test_street_scenes_renders_on_access_only(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError('rendered too early')

    monkeypatch.setattr('mmkd.datasets.street_scenes.render_street.render_street', fail)
    dataset = StreetScenes(length=10**4, pipeline=PIPELINE)
    with pytest.raises(AssertionError, match='too early'):
        dataset[0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(split='test'), "split='test': expected one of train, val"),
        (dict(size=(0, 256)), r'size=\(0, 256\)'),
        (dict(size=(192, -1)), r'size=\(192, -1\)'),
        (dict(size=(192,)), r'size=\(192,\)'),
        (dict(size=(19.5, 20)), r'size=\(19.5, 20\)'),
        (dict(length=0), 'length=0'),
    ],
)
def test_street_scenes_bad_arguments_raise_user_error(arguments, message):
    with pytest.raises(UserError, match=message):
        StreetScenes(**arguments)


def test_street_scenes_index_outside_length_is_rejected():
    dataset = StreetScenes(length=3, size=(8, 8), pipeline=PIPELINE)
    with pytest.raises(IndexError):
        dataset[3]
    with pytest.raises(UserError, match='index=-1'):
        render_street(-1, 'train')


# --- the contact sheet


def test_show_streets_writes_a_contact_sheet(tmp_path, monkeypatch):
    path = ROOT / 'tools/analysis/show_streets.py'
    spec = importlib.util.spec_from_file_location('show_streets', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    out = tmp_path / 'sheet.png'
    options = '--split val --start 4 --count 3 --size 48 64 --columns 2'
    monkeypatch.setattr(sys, 'argv', ['show_streets.py', str(out), *options.split()])
    tool.main()
    sheet = cv2.imread(str(out))
    assert sheet.shape == (2 * 48, 2 * 2 * 64, 3)
    street = render_street(5, 'val', (48, 64))
    np.testing.assert_array_equal(sheet[:48, 128:192], street.image)
    np.testing.assert_array_equal(sheet[:48, 192:, ::-1], np.array(PALETTE)[street.label])
    assert not sheet[48:, 128:].any()
    boxed = tool.contact_sheet('val', 5, 1, (192, 256), 1, boxes=True)
    assert (boxed[:, :256] != render_street(5, 'val').image).any()
