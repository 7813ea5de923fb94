import cv2
import numpy as np
import pytest
from mmengine.dataset import RepeatDataset

from mmkd.datasets import FolderDataset
from mmkd.datasets import class_occurrence as module
from mmkd.datasets.class_occurrence import report_absent_classes


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda text, *_, **__: lines.append(text))
    return lines


def fields(folder, labels, classes):
    for name in ('images', 'labels'):
        (folder / name).mkdir()
    for i, label in enumerate(labels):
        cv2.imwrite(str(folder / f'images/{i}.jpg'), np.zeros((4, 6, 3), np.uint8))
        cv2.imwrite(str(folder / f'labels/{i}.png'), np.full((4, 6), 0, np.uint8) + label)
    return FolderDataset(
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=classes),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmkd.LoadCheckedAnnotations')],
    )


def test_report_absent_classes_masks_of_0_and_255_are_logged(tmp_path, said):
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3] = 255
    report_absent_classes(fields(tmp_path, [mask, mask, mask], ('ground', 'thing')))
    (line,) = said
    assert "of the classes 'thing' in all 3 training labels (255, which they hold, is" in line


def test_report_absent_classes_all_present_is_silent(tmp_path, said):
    data = fields(tmp_path, [0, 2, 1, 1], ('a', 'b', 'c'))
    report_absent_classes(RepeatDataset(data, times=3))
    assert said == []


def test_report_absent_classes_wrapped_dataset_is_checked(tmp_path, said):
    data = fields(tmp_path, [0, 2, 0], ('a', 'b', 'c'))
    report_absent_classes(RepeatDataset(data, times=2))
    assert len(said) == 1 and "classes 'b' in all 3" in said[0] and '255' not in said[0]


class Boxes:
    """A detection dataset, as far as its annotations go."""

    metainfo = dict(classes=('nut', 'bolt'))

    def __init__(self, *labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def get_data_info(self, i):
        return dict(instances=[dict(bbox_label=x, ignore_flag=0) for x in self.labels[i]])


def test_report_absent_classes_class_without_boxes_is_logged(said):
    report_absent_classes(Boxes([0], [], [0, 0]))
    assert "'bolt' in all 3 training images" in said[0]


def test_report_absent_classes_images_without_boxes_are_logged(said):
    report_absent_classes(Boxes([], []))
    assert "of the classes 'nut', 'bolt' in all 2 training images" in said[0]
