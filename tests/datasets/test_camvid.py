"""CamVid by sequence, on a few drawn images with the data set's file names."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import EVALUATOR
from mmengine.structures import PixelData

from mmkd.config.load import load_config
from mmkd.datasets.camvid import CamVidDataset
from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.errors import UserError
from mmkd.registry import DATASETS

NAMES = ['0001TP_006690', '0001TP_006720', '0006R0_f00930', '0016E5_00390']


@pytest.fixture
def build(tmp_path):
    """Build the dataset over four images of three sequences."""
    for folder, suffix in (
        ('train', '.jpg'),
        ('trainannot', '.png'),
        ('val', '.jpg'),
        ('valannot', '.png'),
    ):
        (tmp_path / folder).mkdir()
        for name in NAMES if 'train' in folder else ['0016E5_07959']:
            cv2.imwrite(str(tmp_path / folder / f'{name}{suffix}'), np.zeros((4, 6), np.uint8))

    def build(**options):
        prefix = dict(img_path='train', seg_map_path='trainannot')
        return CamVidDataset(data_root=str(tmp_path), data_prefix=prefix, **options)

    return build


def names(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [info['img_path'].rpartition('/')[2][:-4] for info in infos]


@pytest.mark.parametrize(
    'sequences, expected',
    [
        (None, NAMES),
        (['0001TP'], NAMES[:2]),
        (['0016E5', '0001TP'], [*NAMES[:2], NAMES[3]]),
        (['0006R0'], [NAMES[2]]),
    ],
)
def test_camvid_keeps_the_images_of_its_sequences(build, sequences, expected):
    assert names(build(sequences=sequences)) == expected


@pytest.mark.parametrize('name', ['0005VD', '0001T', ''])
def test_camvid_sequence_without_image_names_those_there_are(build, name):
    message = f"sequences='{name}': expected one of 0001TP, 0006R0, 0016E5; these are in .*train$"
    with pytest.raises(UserError, match=message):
        build(sequences=['0001TP', name])


def test_by_sequence_config_scores_each_part_of_the_validation(build, tmp_path):
    config = load_config('configs/students/fast_scnn_camvid_by_sequence.py')
    config.merge_from_dict(
        {
            'train_dataloader.dataset.data_root': str(tmp_path),
            'val_dataloader.dataset.datasets.0.data_root': str(tmp_path),
            'val_dataloader.dataset.datasets.1.data_root': str(tmp_path),
        }
    )
    assert names(DATASETS.build(config.train_dataloader.dataset)) == [*NAMES[:2], NAMES[3]]
    dataset = DATASETS.build(config.val_dataloader.dataset)
    assert [len(part) for part in dataset.datasets] == [1, 1]
    evaluator = EVALUATOR.build(config.val_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    for predicted, packed in zip((0, 3), dataset, strict=True):  # of labels that are all 0
        sample = packed['data_samples']
        label = sample.gt_sem_seg.data
        sample.pred_sem_seg = PixelData(data=torch.full_like(label, predicted))
        evaluator.process(data_samples=[sample], data_batch=None)
    scores = evaluator.evaluate(len(dataset))
    assert scores['val/aAcc'] == 100 and scores['unseen/aAcc'] == 0
    assert config.default_hooks.checkpoint.save_best in scores


@pytest.mark.parametrize('chosen', [CLASSES[::-1], ('Car', 'Sky'), ('Road',)])
def test_camvid_chosen_classes_keep_their_colours(build, chosen):
    found = build(metainfo=dict(classes=chosen)).metainfo
    assert found['palette'] == [PALETTE[CLASSES.index(name)] for name in chosen]
    own = [[i, i, i] for i in range(len(chosen))]
    assert build(metainfo=dict(classes=chosen, palette=own)).metainfo['palette'] == own


def test_camvid_reduce_zero_label_is_rejected(build):
    with pytest.raises(UserError, match='reduce_zero_label=True: expected False, because class 0'):
        build(reduce_zero_label=True)
