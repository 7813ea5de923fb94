"""Pictures of real runs of a few iterations, and that they leave no trace in the training."""

import copy
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.registry import DATASETS, HOOKS, MODELS

HOOK = dict(type='mmkd.DistillVisualizationHook', interval=2, images=(0, 3))


def train(config: Config, work_dir: Path, hook: dict | None, **changes) -> Runner:
    config = copy.deepcopy(config)
    config.work_dir = str(work_dir)
    config.merge_from_dict(changes)
    if hook is not None:
        config.default_hooks.visualization = hook
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def pictures(work_dir: Path) -> dict[str, np.ndarray]:
    return {p.name: cv2.imread(str(p)) for p in work_dir.glob('*/vis_data/vis_image/*.png')}


@pytest.fixture
def config(recipe) -> Config:
    # Dropout, and validation images that are drawn by lot: whoever draws more would show.
    recipe.model.student.decode_head.dropout_ratio = 0.5
    load, pack = recipe.val_dataloader.dataset.pipeline
    flip = dict(type='RandomFlip', prob=0.5)
    recipe.val_dataloader.dataset.pipeline = [load, flip, pack]
    return recipe


def test_visualization_hook_leaves_training_unchanged(config, tmp_path):
    plain = train(config, tmp_path / 'plain', None)
    states = random.getstate()[1], np.random.get_state()[1].tolist(), torch.get_rng_state()
    drawn = train(config, tmp_path / 'drawn', HOOK)
    assert random.getstate()[1] == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    a, b = plain.model.state_dict(), drawn.model.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    assert not pictures(tmp_path / 'plain')
    found = pictures(tmp_path / 'drawn')
    names = {f'distillation_{image}_{step}.png' for image in (0, 3) for step in (0, 2, 4)}
    assert found.keys() == names


def test_visualization_hook_resumed_run_draws_on(recipe, tmp_path):
    train(recipe, tmp_path, HOOK, train_cfg=dict(max_iters=2))
    train(recipe, tmp_path, HOOK, resume=True)
    found = pictures(tmp_path)
    assert set(found) == {f'distillation_{i}_{step}.png' for i in (0, 3) for step in (0, 2, 4)}
    # A picture follows the student; the truth, second on top, stays.
    before, after = found['distillation_0_0.png'], found['distillation_0_4.png']
    truth = slice(28, 220), slice(260, 516)
    assert np.array_equal(before[truth], after[truth]) and not np.array_equal(before, after)


def test_visualization_hook_baseline_is_drawn_beside(recipe, tmp_path):
    config = load_config('configs/students/fast_scnn_streets.py')
    torch.manual_seed(3)
    network = MODELS.build(config.model).eval()
    dataset = DATASETS.build(recipe.val_dataloader.dataset)
    items = [dataset[i] for i in range(4)]
    batches = [dict(inputs=[i['inputs']], data_samples=[i['data_samples']]) for i in items]
    with torch.no_grad():  # so that no class wins everywhere
        logits = [network.test_step(batch)[0].seg_logits.data for batch in batches]
        network.decode_head.conv_seg.bias -= torch.stack(logits).mean((0, 2, 3))
    torch.save(dict(state_dict=network.state_dict(), meta={}), tmp_path / 'baseline.pth')
    baseline = dict(
        config='configs/students/fast_scnn_streets.py', checkpoint=str(tmp_path / 'baseline.pth')
    )
    train(recipe, tmp_path, dict(HOOK, baseline=baseline), train_cfg=dict(max_iters=2))
    found = pictures(tmp_path)
    palette = np.uint8(dataset.metainfo['palette'])[:, ::-1]
    answers = []
    for image in (0, 3):
        with torch.no_grad():
            labels = network.test_step(batches[image])[0].pred_sem_seg.data[0].numpy()
        answers.append(palette[labels])
        for step in (0, 2):  # it does not train
            shown = found[f'distillation_{image}_{step}.png'][28:220, 4 * 260 : 4 * 260 + 256]
            assert np.array_equal(shown, answers[-1])
    assert not np.array_equal(*answers)


def test_visualization_hook_draws_detector_with_masks(detection_files, tmp_path):
    init_default_scope('mmdet')
    config = Config.fromfile(detection_files['recipe'])
    base = Config.fromfile('configs/_base_/distillers/frs_one_stage.py')
    config.model.distill = base.distill
    train(config, tmp_path, dict(HOOK, images=(0,)))
    found = pictures(tmp_path)
    assert set(found) == {f'distillation_0_{step}.png' for step in (0, 2, 4)}
    # Answers; a title and three rows for each of two terms.
    assert found['distillation_0_4.png'].shape[0] == 220 + 2 * (34 + 3 * 220)


def test_visualization_hook_ignores_runs_without_distillation(config, tmp_path):
    config.model = config.model.student
    train(config, tmp_path, HOOK, train_cfg=dict(max_iters=2))
    assert not pictures(tmp_path)


@pytest.mark.parametrize(
    'hook, message',
    [
        (dict(HOOK, interval=0), 'interval=0: expected an integer >= 1'),
        (dict(HOOK, images=(1, 4)), r'images=\[1, 4\]: expected indices from 0 to 3'),
        (dict(HOOK, baseline=dict(config='a.py')), r"baseline={'config': 'a.py'}: expected dict\("),
        (dict(HOOK, baseline='baseline.pth'), "baseline='baseline.pth': expected dict\\("),
        (
            dict(
                HOOK, baseline=dict(config='configs/students/fast_scnn_streets.py', checkpoint='b')
            ),
            'DistillVisualizationHook.baseline: checkpoint b does not exist',
        ),
    ],
)
def test_visualization_hook_bad_setting_fails_before_training(config, tmp_path, hook, message):
    with pytest.raises(UserError, match=message):
        train(config, tmp_path, hook)
    assert not list(tmp_path.glob('iter_*.pth'))


def test_visualization_hook_rejects_sharded_teacher(config, tmp_path):
    config.work_dir = str(tmp_path)
    runner = Runner.from_cfg(config)
    runner.model.teacher.sharded = True
    hook = HOOKS.build(HOOK)
    with pytest.raises(UserError, match='expected a teacher with shard=False'):
        hook.before_train(runner)
