"""YOLO's mixing of images, by the base config that uses it: it ends at a draw, exactly."""

from itertools import islice

import pytest
import torch
from mmengine.registry import init_default_scope
from torch.utils.data import ConcatDataset, DataLoader

from mmkd.config.load import load_config
from mmkd.datasets import SeededIndex, SeededInfiniteSampler
from mmkd.datasets.scheduled_mix_dataset import warn_of_endless_mixes
from mmkd.errors import UserError
from mmkd.registry import DATASETS

LAST = 3  # from this draw on, scenes are alone


@pytest.fixture(scope='module')
def dataset():
    init_default_scope('mmdet')
    config = load_config('configs/students/yolo11s_streets.py').train_dataloader.dataset
    config.dataset.update(length=5, size=(48, 64))
    config.mix_until_sample = LAST
    return DATASETS.build(config)


def shape(sample):
    return tuple(sample['inputs'].shape)


MIXED, ALONE = (3, 320, 320), (3, 240, 320)


def test_scheduled_mix_stops_at_the_given_sample(dataset):
    for draw in (0, LAST - 1, LAST, LAST + 7, 0):
        sample = dataset[SeededIndex(2, 11, draw)]
        assert shape(sample) == (MIXED if draw < LAST else ALONE)
        assert sample['data_samples'].img_id == 2


def test_scheduled_mix_plain_index_is_mixed(dataset):
    assert shape(dataset[2]) == MIXED


@pytest.mark.parametrize('samples, warns', [(LAST, True), (LAST + 1, False)])
@pytest.mark.parametrize('nested', [False, True])
def test_mix_that_training_does_not_end_is_a_warning(dataset, logged, samples, warns, nested):
    warn_of_endless_mixes(ConcatDataset([dataset, dataset.dataset]) if nested else dataset, samples)
    assert (f'mix_until_sample={LAST}: Mosaic, RandomResize' in logged.text) == warns
    assert (f'draws {samples} samples' in logged.text) == warns


@pytest.mark.parametrize(
    'key, value, message',
    [
        ('skip_type_keys', ('Mosiac',), r'skip_type_keys=.*: expected .*: Mosaic, RandomResize'),
        ('skip_type_keys', 'Mosaic', r'skip_type_keys=.*: expected .*: Mosaic, RandomResize'),
        ('mix_until_sample', -1, 'mix_until_sample=-1: expected an integer'),
        ('mix_until_sample', 2.5, 'mix_until_sample=2.5: expected an integer'),
    ],
)
def test_scheduled_mix_bad_arguments_raise_user_error(key, value, message):
    init_default_scope('mmdet')
    config = load_config('configs/students/yolo11s_streets.py').train_dataloader.dataset
    config[key] = value
    with pytest.raises(UserError, match=message):
        DATASETS.build(config)


def test_scheduled_mix_boxes_stay_on_the_picture(dataset):
    counts = []
    for seed in range(6):
        boxes = dataset[SeededIndex(seed % 5, seed, 0)]['data_samples'].gt_instances.bboxes.tensor
        counts.append(len(boxes))
        assert (boxes >= 0).all() and (boxes <= 320).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()
    assert max(counts) > 0


def test_scheduled_mix_equal_seed_gives_equal_sample(dataset):
    first, again, other = (dataset[SeededIndex(1, seed, 0)]['inputs'] for seed in (4, 4, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)


def read(dataset, workers, skip=0):
    sampler = SeededInfiniteSampler(dataset, seed=1)
    sampler.skip(skip)
    loader = DataLoader(dataset, 1, sampler=sampler, num_workers=workers, collate_fn=lambda x: x[0])
    return [sample['inputs'] for sample in islice(loader, 5 - skip)]


def test_scheduled_mix_samples_are_independent_of_workers_and_resume(dataset):
    alone = read(dataset, 0)
    assert [tuple(x.shape) for x in alone] == [MIXED] * LAST + [ALONE] * 2
    for others in (read(dataset, 2), [None, None, *read(dataset, 0, skip=2)]):
        assert all(b is None or torch.equal(a, b) for a, b in zip(alone, others, strict=True))
