"""The batch that a Distiller is built on, and what reading it leaves behind."""

import json
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import EMAHook
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader, Dataset

from mmkd.engine.distill_runner import DistillRunner
from mmkd.engine.first_batch import load_first_batch
from mmkd.errors import UserError
from mmkd.registry import MODELS


class Remembering(Dataset):
    """A data set whose transforms draw random numbers and keep what they have seen."""

    def __init__(self):
        self.seen = []

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.seen.append(index)
        draws = random.random(), np.random.rand(), torch.rand(1).item()
        return dict(inputs=torch.full((3, 4, 4), index), data_samples=draws)


def test_default_hook_that_is_none_is_left_out(recipe):
    recipe.default_hooks.teacher_score = recipe.default_hooks.timer = None
    hooks = {type(hook).__name__ for hook in DistillRunner.from_cfg(recipe).hooks}
    assert not hooks & {'ValidateTeacherHook', 'IterTimerHook'}
    assert {'LossWeightHook', 'LoggerHook'} <= hooks


def test_load_first_batch_leaves_dataset_and_generators():
    dataset = Remembering()
    loader = DataLoader(dataset, batch_size=8, collate_fn=pseudo_collate)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    batch = load_first_batch(loader)
    assert [image[0, 0, 0].item() for image in batch['inputs']] == [0, 1]
    assert dataset.seen == []
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert states == after


def test_load_first_batch_of_one_is_one():
    loader = DataLoader(Remembering(), batch_size=1, collate_fn=pseudo_collate)
    assert len(load_first_batch(loader)['inputs']) == 1


def test_load_first_batch_names_a_pipeline_that_does_not_pack():
    images = [dict(img=np.zeros((4, width, 3), np.uint8), img_shape=(4, width)) for width in (4, 6)]
    loader = DataLoader(images, batch_size=2, collate_fn=pseudo_collate)
    message = r'^train_dataloader\.dataset\.pipeline: expected PackSegInputs, or PackDet.*; add it'
    with pytest.raises(UserError, match=message):
        load_first_batch(loader)


@pytest.mark.parametrize('distilled', [True, False])
@pytest.mark.parametrize('key', ['model', None])
def test_distill_runner_starts_from_a_file_of_another_program(recipe, tmp_path, key, distilled):
    weights = MODELS.build(recipe.model.student).state_dict()
    path = tmp_path / 'start.pth'
    torch.save({key: weights, 'epoch': 3} if key else weights, path)
    recipe.custom_hooks = [dict(type='EMAHook')]
    if not distilled:
        recipe.model = recipe.model.student
    runner = DistillRunner.from_cfg(recipe)
    runner.call_hook('before_run')
    runner.load_checkpoint(str(path))
    (average,) = (hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook))
    for network in (runner.model, average):
        state = getattr(network, 'student', network).state_dict()
        assert all(torch.equal(state[name], value) for name, value in weights.items())


def test_distill_runner_trains_on_the_data_that_it_lent(recipe, capsys):
    recipe.train_dataloader.dataset.update(length=6, size=(64, 96))
    recipe.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        recipe[key] = None
    runner = DistillRunner.from_cfg(recipe)
    loader = runner._train_dataloader
    assert isinstance(loader, DataLoader)
    assert runner.train_loop.dataloader is loader
    assert 'synthetic batch' not in capsys.readouterr().out


def test_distill_runner_does_not_build_a_loader_of_missing_images(recipe, tmp_path):
    (tmp_path / 'val.txt').write_text('none\n')
    recipe.val_dataloader.dataset = dict(
        type='BaseSegDataset',
        ann_file=str(tmp_path / 'val.txt'),
        data_prefix=dict(img_path=str(tmp_path), seg_map_path=str(tmp_path)),
        pipeline=[dict(type='LoadImageFromFile')],
    )
    runner = DistillRunner.from_cfg(recipe)
    with pytest.raises(UserError, match=r'1 of 1 do not exist, such as .*/none\.jpg'):
        _ = runner.val_loop


def test_distill_runner_names_a_filter_that_leaves_no_image(tmp_path):
    init_default_scope('mmdet')
    images = [dict(id=1, file_name='1.jpg', height=64, width=96)]
    facts = dict(images=images, annotations=[], categories=[dict(id=1, name='bolt')])
    (tmp_path / 'a.json').write_text(json.dumps(facts))
    dataset = dict(
        type='CocoDataset', data_root=str(tmp_path), ann_file='a.json', data_prefix=dict(img=''),
        metainfo=dict(classes=('bolt',)), filter_cfg=dict(filter_empty_gt=True), pipeline=[],
    )  # fmt: skip
    loader = dict(
        dataset=dict(type='RepeatDataset', times=2, dataset=dataset), batch_size=1, num_workers=0,
        sampler=dict(type='DefaultSampler'),
    )  # fmt: skip
    message = r'^dataset=CocoDataset: expected images, found none in .*filter_empty_gt.*; loosen'
    with pytest.raises(UserError, match=message):
        DistillRunner.build_dataloader(loader)
