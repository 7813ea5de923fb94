import pytest
from mmdet.datasets import ConcatDataset

from mmkd.datasets import StreetScenes
from mmkd.datasets.class_order import check_class_order, classes_of
from mmkd.errors import UserError

NAMES = [None, ['road', 'car'], ('Road', 'cars'), ('soil', 'crop'), ('road', 'sky')]


@pytest.mark.parametrize(
    'classes', [('car', 'road'), ('road',), ('road', 'car', 'sky'), ('sky', 'road')]
)
def test_check_class_order_other_numbers_raise_user_error(classes):
    with pytest.raises(
        UserError, match='expected the classes of the file in the same order'
    ) as error:
        check_class_order('val_dataloader', classes, ('road', 'car'), 'the file')
    assert str(error.value).startswith('val_dataloader.dataset.metainfo.classes=')


@pytest.mark.parametrize('classes', NAMES)
def test_check_class_order_of_the_same_or_unknown_names_is_accepted(classes, logged):
    check_class_order('val_dataloader', classes, ('road', 'car'), 'the file')
    assert ('are scored as those of the file' in logged.text) == (classes in NAMES[3:])


def test_check_class_order_unknown_classes_are_accepted():
    check_class_order('val_dataloader', ('road',), None, 'the file')


def test_classes_of_parts_that_differ_are_those_of_the_first():
    parts = [StreetScenes(metainfo=dict(classes=names)) for names in (('Road', 'Car'), ('Car',))]
    assert tuple(classes_of(ConcatDataset(parts))) == ('Road', 'Car')
    assert classes_of([1, 2]) is None
