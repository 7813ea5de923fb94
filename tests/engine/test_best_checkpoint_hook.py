import copy
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner, ValLoop

from mmkd.checkpoint import load_checkpoint_file
from mmkd.engine.files import find_last_checkpoint


@pytest.fixture
def recipe(recipe):
    """The student alone on small images."""
    recipe.model = recipe.model.student
    pipeline = [dict(type='mmkd.LoadStreet'), dict(type='PackSegInputs')]
    for loader in (recipe.train_dataloader, recipe.val_dataloader):
        loader.dataset.update(size=(64, 96), pipeline=pipeline)
    return recipe


def runner_of(recipe, work_dir, **changes) -> Runner:
    config = copy.deepcopy(recipe)
    config.merge_from_dict(dict(work_dir=str(work_dir), **changes))
    return Runner.from_cfg(config)


def by_epoch(recipe):
    recipe.train_dataloader.dataset.length = 4
    recipe.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=False)
    recipe.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=2)
    recipe.default_hooks.checkpoint.update(by_epoch=True, interval=1)


def by_iteration(recipe):
    recipe.train_cfg.val_interval = 4


@pytest.mark.parametrize('schedule', [by_iteration, by_epoch])
def test_a_validation_that_was_cut_short_is_made_up_for(recipe, tmp_path, monkeypatch, schedule):
    schedule(recipe)
    whole = runner_of(recipe, tmp_path / 'whole')
    whole.train()
    with monkeypatch.context() as patch:
        patch.setattr(ValLoop, 'run', lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runner_of(recipe, tmp_path / 'cut').train()
    assert not (tmp_path / 'cut/best.pth').exists()
    (tmp_path / 'cut/.iter_4.pth.123').touch()

    resumed = runner_of(recipe, tmp_path / 'cut', resume=True)
    resumed.train()
    a, b = (load_checkpoint_file(tmp_path / name / 'best.pth') for name in ('whole', 'cut'))
    assert all(torch.equal(a['state_dict'][k], b['state_dict'][k]) for k in a['state_dict'])
    scores = [c['message_hub']['runtime_info']['best_score'] for c in (a, b)]
    assert scores[0] == scores[1]
    assert not list((tmp_path / 'cut').glob('.*'))


def test_a_moved_training_keeps_to_its_own_best(recipe, tmp_path):
    recipe.train_cfg.val_interval = 2
    first = runner_of(recipe, tmp_path / 'place', **{'train_cfg.max_iters': 2})
    first.train()
    (tmp_path / 'place').rename(tmp_path / 'moved')
    # Another training lies at the old place by now.
    best = Path(first.message_hub.get_info('best_ckpt'))
    best.parent.mkdir()
    best.write_text('another network')
    last = find_last_checkpoint(tmp_path / 'moved')
    runner_of(recipe, tmp_path / 'moved', resume=True, load_from=last).train()
    assert best.read_text() == 'another network'
    load_checkpoint_file(tmp_path / 'moved/best.pth')


def test_a_finished_training_is_not_validated_again(recipe, tmp_path):
    runner_of(recipe, tmp_path).train()
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('*.pth')}
    runner_of(recipe, tmp_path, resume=True).train()
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('*.pth')} == before
    logs = [p.read_text().count('Iter(val)') for p in sorted(Path(tmp_path).glob('*/*.log'))]
    assert logs[0] > 0 and logs[-1] == 0
