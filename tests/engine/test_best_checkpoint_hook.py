import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmkd.checkpoints.atomic_files import find_last_checkpoint
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.engine.hooks import BestCheckpointHook


def test_best_checkpoint_hook_moved_work_dir_keeps_its_own_best(
    student_recipe, runner_of, tmp_path
):
    student_recipe.train_cfg.val_interval = 2
    first = runner_of(student_recipe, tmp_path / 'place', **{'train_cfg.max_iters': 2})
    first.train()
    (tmp_path / 'place').rename(tmp_path / 'moved')
    # Another training lies at the old place by now.
    best = Path(first.message_hub.get_info('best_ckpt'))
    best.parent.mkdir()
    best.write_text('another network')
    last = find_last_checkpoint(tmp_path / 'moved')
    runner_of(student_recipe, tmp_path / 'moved', resume=True, load_from=last).train()
    assert best.read_text() == 'another network'
    load_checkpoint_file(tmp_path / 'moved/best.pth')


def loaded(work_dir, facts: dict, **hook) -> dict:
    """What a checkpoint's facts become when a training in ``work_dir`` loads it."""
    runner = SimpleNamespace(
        work_dir=str(work_dir), hooks=[SimpleNamespace(**hook)], logger=logging.getLogger()
    )
    checkpoint = dict(message_hub=dict(runtime_info=facts))
    BestCheckpointHook().after_load_checkpoint(runner, checkpoint)
    return facts


def test_best_checkpoint_hook_best_of_another_folder_is_forgotten(tmp_path):
    for name in ('own', 'first', 'out'):
        (tmp_path / name).mkdir()
    first = tmp_path / 'first/best_mIoU_iter_2.pth'
    first.touch()
    facts = dict(best_ckpt=str(first), best_score=3.0, iter=2)
    assert loaded(tmp_path / 'own', facts) == dict(iter=2)
    # The checkpoint hook may write elsewhere.
    (tmp_path / 'out' / first.name).touch()
    facts = dict(best_ckpt=str(first), best_score=3.0)
    found = loaded(tmp_path / 'own', facts, out_dir=str(tmp_path / 'out'))
    assert found == dict(best_ckpt=str(tmp_path / 'out' / first.name), best_score=3.0)


@pytest.mark.parametrize('noted', ['/etc/hostname', 'run.json', '../x', '', 7, None, 'best.pth'])
def test_best_checkpoint_hook_bad_best_path_is_forgotten(tmp_path, noted):
    (tmp_path / 'run.json').touch()
    (tmp_path / 'best.pth').touch()
    facts = {'best_ckpt_mIoU': noted, 'best_score_mIoU': 1.0}
    assert loaded(tmp_path, facts) == {}


def test_best_checkpoint_hook_symlinked_best_is_forgotten(tmp_path):
    (tmp_path / 'outside.pth').touch()
    (tmp_path / 'own').mkdir()
    (tmp_path / 'own/best_mIoU_iter_2.pth').symlink_to(tmp_path / 'outside.pth')
    facts = dict(best_ckpt=str(tmp_path / 'own/best_mIoU_iter_2.pth'), best_score=3.0)
    assert loaded(tmp_path / 'own', facts) == {}


def test_best_checkpoint_hook_keeps_integer_checkpoint_ids_only(tmp_path):
    assert loaded(tmp_path, dict(keep_ckpt_ids=[2, '/../x', 4])) == dict(keep_ckpt_ids=[2, 4])
