import json

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmkd.datasets.listed_images import check_images_exist, missing_files
from mmkd.errors import UserError
from mmkd.registry import DATASETS


@pytest.fixture
def coco(tmp_path):
    """A dataset of three photographs, by the names of those that are there."""
    init_default_scope('mmdet')

    def build(*there, wrapper=None, **loading):
        for name in there:
            cv2.imwrite(str(tmp_path / name), np.zeros((64, 96, 3), np.uint8))
        images = [dict(id=i, file_name=f'{i}.jpg', height=64, width=96) for i in range(3)]
        facts = dict(images=images, annotations=[], categories=[dict(id=1, name='bolt')])
        (tmp_path / 'a.json').write_text(json.dumps(facts))
        dataset = dict(
            type='CocoDataset', data_root=str(tmp_path), ann_file='a.json',
            data_prefix=dict(img=''), metainfo=dict(classes=('bolt',)),
            pipeline=[dict(type='LoadImageFromFile', **loading)],
        )  # fmt: skip
        return DATASETS.build(dict(wrapper, dataset=dataset) if wrapper else dataset)

    return build


@pytest.mark.parametrize('wrapper', [None, dict(type='RepeatDataset', times=2)])
def test_check_images_exist_names_a_missing_image(coco, wrapper):
    dataset = coco('0.jpg', '1.jpg', wrapper=wrapper)
    message = r'a\.json: expected the images that it lists; 1 of 3 do not exist, .*/2\.jpg: add'
    with pytest.raises(UserError, match=message):
        check_images_exist(dataset)
    check_images_exist(coco('2.jpg', wrapper=wrapper))


def test_check_images_exist_names_a_file_with_another_suffix(coco):
    with pytest.raises(UserError, match=r'such as .*/0\.jpg \(but 0\.png\): add them'):
        check_images_exist(coco('0.png', '1.jpg', '2.jpg'))


def test_missing_files_are_those_that_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder').mkdir()
    for name in ('here.jpg', 'folder/here.jpg'):
        (tmp_path / name).touch()
    (tmp_path / 'link.jpg').symlink_to('here.jpg')
    (tmp_path / 'broken.jpg').symlink_to('gone.jpg')
    there = ['here.jpg', 'folder/here.jpg', 'folder/../link.jpg', str(tmp_path / 'link.jpg')]
    gone = ['gone.jpg', 'broken.jpg', 'folder', 'nowhere/here.jpg']
    assert missing_files([*there, *gone]) == gone


@pytest.mark.parametrize('loading', [dict(ignore_empty=True), dict(backend_args=dict(backend='x'))])
def test_check_images_exist_leaves_other_loading_alone(coco, loading):
    check_images_exist(coco(**loading))
