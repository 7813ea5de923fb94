from pathlib import Path

import pytest
import torch
from mmengine.runner import ValLoop

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.engine.hooks import UnfinishedTrainingHook
from mmkd.experiments.record import load_record


def by_epoch(recipe):
    recipe.train_dataloader.dataset.length = 4
    recipe.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=False)
    recipe.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=2)
    recipe.default_hooks.checkpoint.update(by_epoch=True, interval=1)


def by_iteration(recipe):
    recipe.train_cfg.val_interval = 4


@pytest.mark.parametrize('schedule', [by_iteration, by_epoch])
def test_unfinished_training_hook_missed_validation_runs_on_resume(
    student_recipe, runner_of, tmp_path, monkeypatch, schedule
):
    schedule(student_recipe)
    whole = runner_of(student_recipe, tmp_path / 'whole')
    whole.train()
    with monkeypatch.context() as patch:
        patch.setattr(ValLoop, 'run', lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runner_of(student_recipe, tmp_path / 'cut').train()
    assert not (tmp_path / 'cut/best.pth').exists()
    (tmp_path / 'cut/.iter_4.pth.123').touch()

    resumed = runner_of(student_recipe, tmp_path / 'cut', resume=True)
    resumed.train()
    a, b = (load_checkpoint_file(tmp_path / name / 'best.pth') for name in ('whole', 'cut'))
    assert all(torch.equal(a['state_dict'][k], b['state_dict'][k]) for k in a['state_dict'])
    scores = [c['message_hub']['runtime_info']['best_score'] for c in (a, b)]
    assert scores[0] == scores[1]
    assert not list((tmp_path / 'cut').glob('.*'))


def test_unfinished_training_hook_missed_validation_of_a_dynamic_interval_runs_on_resume(
    student_recipe, runner_of, tmp_path, monkeypatch
):
    student_recipe.train_cfg.update(val_interval=3, dynamic_intervals=[(2, 2)])
    student_recipe.default_hooks.checkpoint.interval = 2
    runner_of(student_recipe, tmp_path / 'whole').train()
    with monkeypatch.context() as patch:
        patch.setattr(ValLoop, 'run', lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runner_of(student_recipe, tmp_path / 'cut').train()
    runner_of(student_recipe, tmp_path / 'cut', resume=True).train()
    whole, cut = (load_record(tmp_path / name).scores('mIoU') for name in ('whole', 'cut'))
    assert [iteration for iteration, _ in whole] == [2, 4]
    assert cut == whole


def test_unfinished_training_hook_finished_training_is_not_validated_again(
    student_recipe, runner_of, tmp_path
):
    runner_of(student_recipe, tmp_path).train()
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('*.pth')}
    runner_of(student_recipe, tmp_path, resume=True).train()
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('*.pth')} == before
    logs = [p.read_text().count('Iter(val)') for p in sorted(Path(tmp_path).glob('*/*.log'))]
    assert logs[0] > 0 and logs[-1] == 0


def test_unfinished_training_hook_in_config_is_not_added_twice(student_recipe, runner_of, tmp_path):
    hooks = dict(default_hooks=dict(unfinished=dict(type='mmkd.UnfinishedTrainingHook')))
    for name, changes in (('brought', {}), ('named', hooks)):
        runner = runner_of(student_recipe, tmp_path / name, **changes)
        runner.call_hook('before_run')
        found = [hook for hook in runner.hooks if isinstance(hook, UnfinishedTrainingHook)]
        assert len(found) == 1
