import cv2
import numpy as np
import pytest

from mmkd.datasets import FolderDataset
from mmkd.errors import UserError

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='mmkd.LoadLabels')]
SIZE = (6, 8)


@pytest.fixture
def fields(tmp_path):
    """Two images of three classes, 0.jpg and 1.jpg; builds the data set."""
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / f'images/{i}.jpg'), np.full((*SIZE, 3), 90, np.uint8))
        cv2.imwrite(str(tmp_path / f'labels/{i}.png'), np.full(SIZE, i + 1, np.uint8))

    def build(**changes) -> FolderDataset:
        prefix = dict(img_path='images', seg_map_path='labels')
        facts = dict(metainfo=dict(classes=('soil', 'crop', 'weed')), data_prefix=prefix)
        return FolderDataset(data_root=str(tmp_path), pipeline=PIPELINE, **facts | changes)

    return build


def test_items_are_images_with_their_labels(fields):
    data = fields()
    assert len(data) == 2
    for i in range(2):
        assert data[i]['img'].shape == (*SIZE, 3)
        assert (data[i]['gt_seg_map'] == i + 1).all()


def test_the_classes_bound_the_ids(fields):
    fields()[1]
    with pytest.raises(UserError, match=r'labels/1.png holds the class id 2; allowed: 0 to 1, '):
        fields(metainfo=dict(classes=('soil', 'plant')))[1]


@pytest.mark.parametrize('key', ['img_path', 'seg_map_path'])
def test_a_missing_folder_is_named(fields, key):
    prefix = dict(img_path='images', seg_map_path='labels') | {key: 'none'}
    with pytest.raises(UserError, match=rf'/none \(data_prefix.{key}\) does not exist'):
        fields(data_prefix=prefix)


def test_images_of_another_suffix_are_not_overlooked(fields):
    with pytest.raises(UserError, match=r"/images holds no \*.png, the data set's img_suffix"):
        fields(img_suffix='.png')


@pytest.mark.parametrize('content', [b'', b'\xff\xd8 no image'])
def test_a_damaged_image_is_named(fields, tmp_path, content):
    (tmp_path / 'images/1.jpg').write_bytes(content)
    with pytest.raises(UserError, match=r'images/1.jpg or its label .* cannot be read: '):
        fields()[1]
