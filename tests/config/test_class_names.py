import pytest
from mmengine.config import Config

from mmkd.config.class_names import class_names, dataset_class_names, same_but_for_spelling
from mmkd.config.load import load_config

OWN = dict(type='FolderDataset', metainfo=dict(classes=['cat', 'dog']))


@pytest.mark.parametrize(
    'config, expected',
    [
        (dict(test_dataloader=dict(dataset=OWN)), ['cat', 'dog']),
        (dict(train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=OWN))), OWN),
        (dict(metainfo=dict(classes=['road'])), ['road']),
        (dict(), None),
    ],
)
def test_class_names_of_config_are_those_stated(config, expected):
    expected = expected['metainfo']['classes'] if isinstance(expected, dict) else expected
    assert class_names(Config(config)) == expected


def test_class_names_of_dataset_type_are_its_own():
    config = load_config('mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py')
    assert class_names(config) == dataset_class_names('mmseg.CityscapesDataset')
    assert class_names(config)[:2] == ('road', 'sidewalk')
    assert dataset_class_names('NoDataset') is None


@pytest.mark.parametrize(
    'other, same', [('side walk', True), ('Side-Walks', True), ('walk', False), ('sidewal', False)]
)
def test_same_but_for_spelling_ignores_case_and_signs(other, same):
    assert same_but_for_spelling('sidewalk', other) is same
