from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmkd.datasets import StreetScenesDet, render_street
from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.errors import UserError
from mmkd.registry import DATASETS

ROOT = Path(__file__).resolve().parents[3]

LOAD = [dict(type='mmkd.RenderStreet'), dict(type='LoadAnnotations', with_bbox=True)]
PACK = dict(type='PackDetInputs', meta_keys=('instances', 'img_path'))


@pytest.fixture(autouse=True)
def _mmdet_scope():
    init_default_scope('mmdet')


def streets(**changes):
    config = dict(type='mmkd.StreetScenesDet', length=6, size=(96, 128), **changes)
    return DATASETS.build(dict(pipeline=[*LOAD, PACK], **config))


def test_street_scenes_det_boxes_equal_renderer():
    data = streets(split='val')
    for index in range(6):
        street, sample = render_street(index, 'val', (96, 128)), data[index]
        instances = sample['data_samples'].gt_instances
        assert np.array_equal(sample['inputs'].numpy().transpose(1, 2, 0), street.image)
        assert np.array_equal(instances.bboxes.numpy(), street.boxes)
        names = [data.metainfo['classes'][label] for label in instances.labels]
        assert names == [CLASSES[label] for label in street.box_labels]
        assert len(sample['data_samples'].metainfo['instances']) == len(street.boxes)


def test_street_scenes_det_palette_equals_segmentation():
    info = StreetScenesDet.METAINFO
    for name, colour in zip(info['classes'], info['palette'], strict=True):
        assert list(colour) == PALETTE[CLASSES.index(name)]


def test_street_scenes_det_chosen_classes_keep_their_colours():
    info = streets(metainfo=dict(classes=('Bicyclist', 'Car'))).metainfo
    assert [list(c) for c in info['palette']] == [
        PALETTE[CLASSES.index(name)] for name in ('Bicyclist', 'Car')
    ]


def test_street_scenes_det_chosen_classes_are_renumbered_and_empty_scenes_kept():
    data = streets(metainfo=dict(classes=('Bicyclist', 'Car')))
    assert len(data) == 6
    cyclist, car = CLASSES.index('Bicyclist'), CLASSES.index('Car')
    for index in range(6):
        labels = data[index]['data_samples'].gt_instances.labels.tolist()
        rendered = render_street(index, 'train', (96, 128)).box_labels
        assert labels == [[cyclist, car].index(k) for k in rendered if k in (cyclist, car)]
    # Some of these scenes have no cyclist.
    rare = streets(metainfo=dict(classes=('Bicyclist',)))
    assert len(rare) == 6 and 0 in [len(rare[i]['data_samples'].gt_instances) for i in range(6)]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(split='dev'), "split='dev'"),
        (dict(length=0), 'length=0'),
        (dict(size=(0, 5)), 'size='),
        (dict(metainfo=dict(classes=('Car', 'Truck'))), "classes=.*'Truck'.: expected .*Sign.*Car"),
        (dict(metainfo=dict(classes=('Car'))), "classes='Car': expected some of"),
        # A class of the segmentation, without boxes.
        (dict(metainfo=dict(classes=('Car', 'Road'))), "classes=.*'Road'.: expected .*Sign.*Car"),
    ],
)
def test_street_scenes_det_bad_arguments_raise_user_error(arguments, message):
    with pytest.raises(UserError, match=message):
        StreetScenesDet(**arguments)


@pytest.mark.parametrize('name', ['streets_detection', 'bccd'])
def test_street_scenes_det_training_pipeline_keeps_boxes_on_objects(name, shared, monkeypatch):
    """An augmented box has the pixels that it had, and the crop is 240 rows by 320 columns."""

    def load_and_paint(self, results):
        """Leave the largest box alone, white on black."""
        results = load(self, results)
        largest = int(results['gt_bboxes'].areas.argmax())
        for key in ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'):
            results[key] = results[key][largest : largest + 1]
        left, top, right, bottom = results['gt_bboxes'].tensor[0].round().int().tolist()
        results['img'] = np.zeros_like(results['img'])
        results['img'][top:bottom, left:right] = 255
        return results

    load = LoadAnnotations.transform
    monkeypatch.setattr(LoadAnnotations, 'transform', load_and_paint)
    config = Config.fromfile(ROOT / f'configs/_base_/datasets/{name}.py').train_dataloader
    if name == 'bccd':
        config.dataset.data_root = str(shared / 'data/bccd')
    config.update(num_workers=0, persistent_workers=False, batch_size=4)
    batch = next(iter(Runner.build_dataloader(config, seed=0)))
    found = 0
    for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
        height, width = image.shape[1:]
        assert height <= 240 and width <= 320 and width > height
        for box in sample.gt_instances.bboxes.tensor.tolist():
            rows, columns = np.nonzero(image[0].numpy() > 127)
            painted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box == pytest.approx(painted, abs=1.5)
            found += 1
    assert found > 1
