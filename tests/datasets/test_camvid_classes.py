import cv2
import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset

from mmkd.datasets import CamVidDataset, StreetScenes
from mmkd.datasets.camvid_classes import CLASSES
from mmkd.errors import UserError


@pytest.fixture
def every_id(tmp_path):
    """Build CamVid with one image, whose label holds each id and void, with chosen classes."""
    for name in ('train', 'trainannot'):
        (tmp_path / name).mkdir()
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)
    cv2.imwrite(str(tmp_path / 'train/x.png'), np.zeros((3, 4, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'trainannot/x.png'), label)

    def build(*classes: str) -> CamVidDataset:
        return CamVidDataset(
            data_root=str(tmp_path),
            img_suffix='.png',
            data_prefix=dict(img_path='train', seg_map_path='trainannot'),
            metainfo=dict(classes=classes) if classes else None,
            pipeline=[dict(type='LoadImageFromFile'), dict(type='mmkd.LoadCheckedAnnotations')],
        )

    return build


@pytest.mark.parametrize(
    'classes', [(), CLASSES[::-1], CLASSES[3:] + CLASSES[:3], ('Car', 'Road'), ('Bicyclist',)]
)
def test_camvid_chosen_classes_have_their_own_ids(every_id, classes):
    chosen = classes or CLASSES
    ids = every_id(*classes)[0]['gt_seg_map'].ravel().tolist()
    wanted = [chosen.index(name) if name in chosen else 255 for name in CLASSES]
    assert ids == [*wanted, 255]


def test_camvid_label_map_equals_mmsegmentation(every_id):
    class Plain(BaseSegDataset):
        METAINFO = CamVidDataset.METAINFO

    classes = ('Tree', 'Sky', 'Fence')
    assert every_id(*classes).label_map == Plain.get_label_map(classes)


@pytest.mark.parametrize('kind', [CamVidDataset, StreetScenes])
def test_camvid_unknown_class_error_names_nearest(kind):
    with pytest.raises(UserError, match="remove 'road'; did you mean 'Road'"):
        kind.get_label_map(('Sky', 'road'))
    with pytest.raises(UserError, match="expected each class once; remove one 'Sky'"):
        kind.get_label_map(('Sky', 'Sky'))
