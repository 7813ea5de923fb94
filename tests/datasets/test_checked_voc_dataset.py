from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmkd.datasets import SeededIndex, SeedTransforms
from mmkd.errors import UserError
from mmkd.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>
<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>
</bndbox></object>"""
XML = '<annotation><size><width>40</width><height>30</height></size>{objects}</annotation>'
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('sample_idx', 'img_path')),
]


@pytest.fixture(autouse=True)
def _mmdet_scope():
    init_default_scope('mmdet')


def write(root: Path, name: str, *objects: tuple) -> None:
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    text = ''.join(OBJECT.format(name=n, difficult=d, box=b) for n, d, b in objects)
    (root / f'Annotations/{name}.xml').write_text(XML.format(objects=text))
    cv2.imwrite(str(root / f'JPEGImages/{name}.jpg'), np.zeros((30, 40, 3), np.uint8))
    with open(root / 'ImageSets/Main/train.txt', 'a') as names:
        names.write(f'{name}\n')


def voc(root: Path, **changes):
    config = dict(
        type='mmkd.CheckedVOCDataset', data_root=str(root), ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''), metainfo=dict(classes=('cell', 'plate')),
        pipeline=PIPELINE,
    )  # fmt: skip
    return DATASETS.build(dict(config, **changes))


@pytest.fixture
def good(tmp_path):
    """A data set of one image, and its annotation."""
    write(tmp_path, 'a')
    return voc(tmp_path), tmp_path / 'Annotations/a.xml'


def test_checked_voc_loads_boxes_classes_and_difficult_objects(tmp_path):
    write(
        tmp_path, 'a', ('plate', 0, (1, 1, 11, 21)), ('cell', 1, (2, 3, 9, 9)), ('dog', 0, [1] * 4)
    )
    sample = voc(tmp_path)[0]['data_samples']
    # PASCAL VOC counts pixels from 1.
    assert sample.gt_instances.bboxes.tensor.tolist() == [[0, 0, 10, 20]]
    assert sample.gt_instances.labels.tolist() == [1]
    assert sample.ignored_instances.bboxes.tensor.tolist() == [[1, 2, 8, 8]]


def test_checked_voc_empty_lines_are_not_images(tmp_path):
    write(tmp_path, 'a')
    with (tmp_path / 'ImageSets/Main/train.txt').open('a') as names:
        names.write('\n  \n')
    assert len(voc(tmp_path)) == 1


@pytest.mark.parametrize('box', [(5, 5, 5, 9), (5, 5, 9, 5), (5, 5, 5, 5), (9, 5, 5, 9)])
@pytest.mark.parametrize('test_mode', [False, True])
def test_checked_voc_boxes_without_area_are_omitted(tmp_path, box, test_mode):
    write(tmp_path, 'a', ('cell', 0, box), ('cell', 0, (1, 1, 3, 3)))
    data = voc(tmp_path, test_mode=test_mode)
    assert [i['bbox'] for i in data.get_data_info(0)['instances']] == [[0, 0, 2, 2]]


def test_checked_voc_images_without_boxes_are_kept(tmp_path):
    write(tmp_path, 'a')
    write(tmp_path, 'b', ('cell', 0, (1, 1, 3, 3)))
    data = voc(tmp_path)
    assert len(data) == 2 and len(data[0]['data_samples'].gt_instances) == 0


@pytest.mark.parametrize(
    'text, reason',
    [
        ('', 'no element found'),
        ('<annotation><object>', 'no element found'),
        ('no xml', 'syntax error'),
        ('<annotation><object/></annotation>', 'NoneType'),
        (XML.format(objects=OBJECT.format(name='cell', difficult=0, box='wxyz')), 'float'),
        (XML.replace('40', 'wide'), 'wide'),
        (None, 'No such file'),
    ],
)
def test_checked_voc_bad_annotation_error_names_it(tmp_path, text, reason):
    write(tmp_path, 'good', ('cell', 0, (1, 1, 3, 3)))
    write(tmp_path, 'bad')
    path = tmp_path / 'Annotations/bad.xml'
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=reason) as error:
        voc(tmp_path)
    assert str(error.value).startswith(f'annotation {path} cannot be read: ')
    assert '\n' not in str(error.value)


def markup(inside: st.SearchStrategy) -> st.SearchStrategy:
    tags = st.sampled_from(
        'object name bndbox xmin ymin xmax ymax size width height difficult annotation'.split()
    )
    return st.builds('<{0}>{1}</{0}>'.format, tags, st.lists(inside, max_size=5).map(''.join))


numbers = st.floats().map(str) | st.integers().map(str) | st.text(max_size=3)
annotations = (
    st.binary(max_size=60)
    | st.recursive(numbers, markup, max_leaves=20).map('<annotation>{}</annotation>'.format)
    | st.lists(
        st.builds(
            OBJECT.format,
            name=st.just('cell'),
            difficult=numbers,
            box=st.lists(numbers, min_size=4, max_size=4),
        )
    ).map(lambda objects: XML.format(objects=''.join(objects)))
    | st.builds('<?xml version="1.0" encoding="{}"?><annotation/>'.format, numbers)
)


@pytest.mark.fuzz
@given(annotation=annotations)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_checked_voc_any_bytes_raise_user_error_with_file(good, annotation):
    text = annotation if isinstance(annotation, bytes) else annotation.encode(errors='replace')
    data, path = good
    path.write_bytes(text)
    try:
        (info,) = data.load_data_list()
    except UserError as error:
        assert str(path) in str(error)
    else:
        for box in (instance['bbox'] for instance in info['instances']):
            assert box[0] < box[2] and box[1] < box[3] and all(isinstance(x, int) for x in box)


@pytest.mark.parametrize('content', [b'', b'no image', None])
def test_checked_voc_bad_image_raises_user_error(tmp_path, content):
    write(tmp_path, 'a', ('cell', 0, (1, 1, 3, 3)))
    path = tmp_path / 'JPEGImages/a.jpg'
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match='a.jpg cannot be read'):
        voc(tmp_path)[0]


def test_checked_voc_missing_list_raises_user_error(tmp_path):
    with pytest.raises(UserError, match='dataset.ann_file=.*nothing.txt does not exist'):
        voc(tmp_path, ann_file='nothing.txt')


@pytest.mark.parametrize('filter_cfg, left', [(None, 0), (dict(filter_empty_gt=True), 1)])
def test_checked_voc_list_without_images_raises_user_error(tmp_path, filter_cfg, left):
    write(tmp_path, 'a')
    if not left:
        (tmp_path / 'ImageSets/Main/train.txt').write_text('')
    with pytest.raises(UserError, match=rf'train.txt: expected an image .*, of {left} listed'):
        voc(tmp_path, filter_cfg=filter_cfg)


def test_checked_voc_classes_without_objects_but_other_spellings_raise_user_error(tmp_path):
    write(tmp_path, 'a', ('Cell', 0, (1, 1, 3, 3)), ('plate ', 0, (1, 1, 3, 3)))
    write(tmp_path, 'b')
    message = r"of 'cell', 'plate'; it also has 'Cell', 'plate '$"
    with pytest.raises(UserError, match=r"classes=\['cell', 'plate'\].* " + message):
        voc(tmp_path)
    # An object of a class is enough, if without area, but of each.
    write(tmp_path, 'c', ('cell', 0, (3, 3, 3, 3)))
    with pytest.raises(UserError, match="is of 'plate'; it also has 'Cell', 'plate '$"):
        voc(tmp_path)
    write(tmp_path, 'd', ('plate', 0, (1, 1, 3, 3)))
    assert len(voc(tmp_path)) == 4


def test_checked_voc_absent_class_is_accepted(tmp_path):
    write(tmp_path, 'a', ('cell', 0, (1, 1, 3, 3)))
    assert len(voc(tmp_path)) == 1
    write(tmp_path, 'b', ('tube', 0, (1, 1, 3, 3)))
    assert len(voc(tmp_path)) == 2


def test_checked_voc_name_similar_to_absent_class_is_accepted(tmp_path):
    write(tmp_path, 'a', ('person', 0, (1, 1, 9, 9)), ('cat', 0, (1, 1, 9, 9)))
    assert len(voc(tmp_path, metainfo=dict(classes=('person', 'car')))) == 1


@pytest.mark.parametrize('name', ['Traffic Light', 'traffic_light', 'trafficlights'])
def test_checked_voc_misspelt_class_raises_user_error(tmp_path, name):
    write(tmp_path, 'a', ('person', 0, (1, 1, 9, 9)), (name, 0, (1, 1, 9, 9)))
    with pytest.raises(UserError, match="is of 'traffic-light'; it also has"):
        voc(tmp_path, metainfo=dict(classes=('person', 'traffic-light')))


@pytest.mark.parametrize('name', ['Cell', ' cell ', 'cells'])
def test_checked_voc_objects_in_another_spelling_are_named(tmp_path, logged, name):
    box = (2, 3, 20, 25)
    write(tmp_path, 'a', ('cell', 0, box), (name, 0, box), ('other', 0, box))
    info = voc(tmp_path).get_data_info(0)
    assert len(info['instances']) == 1
    assert f'train.txt: objects named {name!r} are left out' in logged.text
    assert 'other' not in logged.text


@pytest.mark.parametrize('far', ['1e30', '-2000000', '1e7'])
def test_checked_voc_huge_box_error_names_file(tmp_path, far):
    write(tmp_path, 'a', ('cell', 0, (1, 1, far, 9)))
    with pytest.raises(UserError, match='a.xml cannot be read: bndbox=.* up to 1000000'):
        voc(tmp_path)


def test_checked_voc_class_twice_raises_user_error(tmp_path):
    write(tmp_path, 'a', ('cell', 0, (2, 3, 20, 25)))
    with pytest.raises(UserError, match="expected each class once; remove one 'cell'"):
        voc(tmp_path, metainfo=dict(classes=('cell', 'plate', 'cell')))


def test_checked_voc_classes_as_string_raises_user_error(tmp_path):
    write(tmp_path, 'a', ('cell', 0, (1, 1, 3, 3)))
    with pytest.raises(UserError, match=r"classes='cell': expected .* such as \['cell'\]"):
        voc(tmp_path, metainfo=dict(classes=('cell')))


def test_checked_voc_without_metainfo_has_voc_classes(tmp_path):
    write(tmp_path, 'a', ('tvmonitor', 0, (1, 1, 3, 3)))
    data = voc(tmp_path, metainfo=None)
    assert len(data.metainfo['classes']) == 20
    assert data[0]['data_samples'].gt_instances.labels.tolist() == [19]


def test_checked_voc_concatenated_years_keep_their_seeds(tmp_path, monkeypatch):
    """The second data set of the concatenation knows its draw's seed like the first."""
    for year in ('VOC2007', 'VOC2012'):
        write(tmp_path / year, 'a')
        (tmp_path / year / 'ImageSets/Main/train.txt').rename(
            tmp_path / year / 'ImageSets/Main/trainval.txt'
        )
    config = Config.fromfile(ROOT / 'configs/_base_/datasets/voc.py').train_dataloader.dataset
    for part in config.datasets:
        part.update(data_root=str(tmp_path), filter_cfg=None)
    data = DATASETS.build(config)
    seeds = []
    monkeypatch.setattr(
        SeedTransforms, 'transform', lambda _, r: seeds.append(r['sample_idx'].seed) or r
    )
    assert 'VOC2007' in data[SeededIndex(0, 5, 0)]['data_samples'].img_path
    assert 'VOC2012' in data[SeededIndex(1, 6, 1)]['data_samples'].img_path
    assert seeds == [5, 6]


def test_checked_voc_real_bccd_has_published_counts(shared):
    config = Config.fromfile(ROOT / 'configs/_base_/datasets/bccd.py')
    counts = {}
    for split, loader in (('train', config.train_dataloader), ('val', config.val_dataloader)):
        loader.dataset.data_root = str(shared / 'data/bccd')
        data = DATASETS.build(loader.dataset)
        labels = [
            i['bbox_label'] for k in range(len(data)) for i in data.get_data_info(k)['instances']
        ]
        counts[split] = len(data), np.bincount(labels)
    assert (counts['train'][0], counts['val'][0]) == (205, 87)
    # Counted in the XML files; two RBC of 3350 have no area.
    assert (counts['train'][1] + counts['val'][1]).tolist() == [301, 3348, 292]
