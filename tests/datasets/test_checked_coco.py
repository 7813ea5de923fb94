import json

import cv2
import numpy as np
import pytest
from mmdet.evaluation.metrics import coco_metric
from mmengine.registry import init_default_scope
from pycocotools.cocoeval import COCOeval

from mmkd.datasets.checked_coco import CheckedCOCO
from mmkd.errors import UserError
from mmkd.registry import DATASETS


@pytest.fixture
def coco(tmp_path):
    """Write a file of one image with a box of each category; builds the dataset."""
    init_default_scope('mmdet')
    cv2.imwrite(str(tmp_path / '0.jpg'), np.zeros((64, 96, 3), np.uint8))

    def build(known, classes, **changes):
        boxes = [
            dict(id=i, image_id=7, category_id=c['id'], bbox=[5, 5, 20, 30])
            for i, c in enumerate(known)
        ]
        image = dict(id=7, file_name='0.jpg', height=64, width=96)
        facts = dict(images=[image], categories=known, annotations=boxes)
        for key, change in changes.items():
            facts[key][0].update(change)
        (tmp_path / 'a.json').write_text(json.dumps(facts))
        return DATASETS.build(
            dict(
                type='CocoDataset',
                data_root=str(tmp_path),
                ann_file='a.json',
                data_prefix=dict(img=''),
                metainfo=dict(classes=classes),
                pipeline=[],
            )
        )

    return build


def categories(*names, first=1, step=1):
    return [dict(id=first + step * i, name=name) for i, name in enumerate(names)]


def test_checked_coco_ids_with_gaps_have_their_labels(coco):
    data = coco(categories('bolt', 'nut', 'gear', first=3, step=4), ('bolt', 'gear'))
    instances = data.get_data_info(0)['instances']
    assert [x['bbox_label'] for x in instances] == [0, 1]
    assert instances[0]['bbox'] == [5, 5, 25, 35]


@pytest.mark.parametrize(
    'names, classes, message',
    [
        (['Nut', 'bolt'], ('nut', 'bolt'), "has no 'nut', but 'Nut'"),
        (['traffic light'], ('traffic-light',), "has no 'traffic-light', but 'traffic light'"),
        (['nut', 'gear'], ('nut', 'bolt', 'gear'), "has no 'bolt'"),
        (['nut', 'bolt', 'nut'], ('nut', 'bolt'), "categories 1, 3 are all named 'nut'"),
        (['nut', 'bolt'], ('bolt', 'nut'), r"expected the order of .*\['nut', 'bolt'\]"),
    ],
)
def test_checked_coco_misfitting_categories_raise_user_error(coco, names, classes, message):
    with pytest.raises(UserError, match=message) as error:
        coco(categories(*names), classes)
    assert '\n' not in str(error.value)


def test_checked_coco_supercategory_is_not_a_class(coco):
    inside = [dict(id=1, name='car', supercategory='vehicle')]
    with pytest.raises(UserError, match='which is the supercategory of car'):
        coco(inside, ('vehicle',))


def test_checked_coco_missing_area_is_that_of_the_box(coco, tmp_path):
    assert len(coco(categories('nut'), ('nut',)).get_data_info(0)['instances']) == 1
    read = CheckedCOCO(str(tmp_path / 'a.json'))
    assert read.load_anns([1])[0]['area'] == 600 and read.load_anns([1])[0]['iscrowd'] == 0
    assert coco_metric.COCO is CheckedCOCO  # evaluation needs an area as well


@pytest.mark.parametrize('ids', [(0, 1), (1, 2), (5, 0), ('a', 'b'), (-1, 9)])
def test_checked_coco_found_objects_count_under_any_ids(tmp_path, ids):
    box = dict(category_id=1, bbox=[5, 5, 20, 30])
    image = dict(file_name='0.jpg', height=64, width=96)
    facts = dict(
        images=[dict(image, id=i) for i in range(2)],
        annotations=[dict(box, id=name, image_id=i) for i, name in enumerate(ids)],
        categories=categories('nut'),
    )
    (tmp_path / 'a.json').write_text(json.dumps(facts))
    truth = CheckedCOCO(str(tmp_path / 'a.json'))
    found = truth.loadRes([dict(box, image_id=i, score=0.9) for i in range(2)])
    evaluation = COCOeval(truth, found, 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(annotations=dict(bbox=[0, 0, 1e30, 4])), r'annotation 0: bbox=\[0, 0, 1e\+30, 4\]'),
        (dict(annotations=dict(bbox=[0, 0, float('nan'), 4])), 'annotation 0: bbox='),
        (dict(annotations=dict(bbox=[1, 2, 3])), 'annotation 0: bbox='),
        (dict(annotations=dict(bbox='1 2 3 4')), 'annotation 0: bbox='),
        (dict(annotations=dict(area='big')), "annotation 0: area='big'"),
        (dict(annotations=dict(category_id=5)), 'annotation 0: category_id=5'),
    ],
)
def test_checked_coco_bad_annotation_raises_user_error(coco, changes, message):
    with pytest.raises(UserError, match='a.json: ' + message):
        coco(categories('nut'), ('nut',), **changes)


@pytest.mark.parametrize('text', ['', '{', '[]', '{"images": [{"id": 1}]}', '{"images": 3}'])
def test_checked_coco_bad_file_raises_user_error(tmp_path, text):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(UserError, match='annotation .*a.json'):
        CheckedCOCO(str(path))


@pytest.mark.parametrize('area', [0, -1, None])
def test_checked_coco_area_that_is_not_positive_is_that_of_the_box(coco, area):
    found = coco(categories('nut'), ('nut',), annotations=dict(area=area))
    assert found.get_data_info(0)['instances'][0]['bbox'] == [5, 5, 25, 35]


@pytest.mark.parametrize('value, ignored', [(0, 0), (1, 1), (None, 0), (True, 1)])
def test_checked_coco_iscrowd_is_a_flag(coco, value, ignored):
    found = coco(categories('nut'), ('nut',), annotations=dict(iscrowd=value))
    assert found.get_data_info(0)['instances'][0]['ignore_flag'] == ignored


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(annotations=dict(iscrowd='0')), "annotation 0: iscrowd='0': expected 0 or 1"),
        (dict(annotations=dict(id=1)), 'annotations: the id 1 occurs 2 times'),
        (dict(annotations=dict(id=[1])), r'annotation \[1\]: id=\[1\]: expected an integer'),
        (dict(annotations=dict(category_id=[1])), r'category_id=\[1\]: expected an id'),
        (dict(annotations=dict(image_id={})), 'image_id={}: expected an integer'),
        (dict(categories=dict(id=2)), 'categories: the id 2 occurs 2 times'),
        (dict(categories=dict(name=7)), r'categories\[0\]: expected id and name'),
        (dict(images=dict(id=None)), r'images\[0\].id=None: expected an integer'),
        (dict(images=dict(height='64')), r"images\[0\].height='64': expected a number of pixels"),
        (dict(images=dict(width=0)), r'images\[0\].width=0: expected a number of pixels'),
        (dict(images=dict(file_name=5)), r'images\[0\].file_name=5: expected a text'),
        (dict(images=dict(id='7')), r"2 of 2 annotations .* image_id=7: .* \('7', …\)"),
    ],
)
def test_checked_coco_values_that_cannot_be_raise_user_error(coco, changes, message):
    with pytest.raises(UserError, match=message) as error:
        coco(categories('nut', 'bolt'), ('nut', 'bolt'), **changes)
    assert '\n' not in str(error.value)


def test_checked_coco_file_without_an_image_raises_user_error(tmp_path):
    (tmp_path / 'a.json').write_text('{"images": [], "categories": [{"id": 1, "name": "bolt"}]}')
    with pytest.raises(UserError, match=r'a\.json: images=\[\]: expected at least one'):
        CheckedCOCO(str(tmp_path / 'a.json'))


def test_checked_coco_two_images_of_one_id_raise_user_error(tmp_path):
    image = dict(id=7, file_name='0.jpg', height=64, width=96)
    facts = dict(images=[image, dict(image, file_name='1.jpg')], categories=[], annotations=[])
    (tmp_path / 'a.json').write_text(json.dumps(facts))
    with pytest.raises(UserError, match='images: the id 7 occurs 2 times: expected unique ids'):
        CheckedCOCO(str(tmp_path / 'a.json'))


def test_checked_coco_annotations_of_images_left_out_are_counted(coco, logged):
    data = coco(categories('nut', 'bolt'), ('nut', 'bolt'), annotations=dict(image_id=9))
    assert [x['bbox_label'] for x in data.get_data_info(0)['instances']] == [1]
    assert '1 of 2 annotations are of images that it does not list' in logged.text
