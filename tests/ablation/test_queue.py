import fcntl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mmkd.ablation.queue import prepare_teachers, run_all
from mmkd.ablation.runs import plan_runs, read_run
from mmkd.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
BROKEN = f"""
_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'
model = dict(backbone=dict(out_indices=(0, 9)))
"""


def test_a_run_that_still_goes_on_elsewhere_is_waited_for(tmp_path):
    (tmp_path / 'broken.py').write_text(BROKEN)
    (run,) = plan_runs([str(tmp_path / 'broken.py')], [0], [], tmp_path)
    replace(run, commit='earlier').note()
    said = []
    with ThreadPoolExecutor() as pool, open(run.folder / '.lock', 'w') as lock:
        # As a training does that outlives the ablation that started it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = pool.submit(run_all, [run], jobs=1, launcher='none', echo=said.append)
        time.sleep(1)
        said_while_locked = list(said)
        fcntl.flock(lock, fcntl.LOCK_UN)
        failures = ended.result(timeout=300)
    assert said_while_locked == [
        f'broken seed 0: waiting for {run.folder}, which another process trains'
    ]
    assert list(failures) == [run] and 'train.log' in failures[run]
    assert said[1].startswith('broken seed 0: training in')
    assert read_run(run.folder) == run  # the commit that trains it, not the one that planned it


def test_a_run_that_ended_elsewhere_is_not_opened_again(unfinished):
    run = unfinished('run', 0)
    said = []
    with ThreadPoolExecutor() as pool, open(run.folder / '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = pool.submit(run_all, [run], jobs=1, launcher='none', echo=said.append)
        time.sleep(1)
        (run.folder / 'training_unfinished').unlink()
        fcntl.flock(lock, fcntl.LOCK_UN)
        failures = ended.result(timeout=300)
    assert failures == {} and said[1:] == ['run seed 0: finished by another process']


def test_a_teacher_that_trains_elsewhere_is_waited_for(finished_run, tmp_path):
    teacher = tmp_path / 'teacher/best.pth'
    teacher.parent.mkdir()
    config = 'configs/teachers/segformer_b0_streets.py'
    run = replace(finished_run('run', 0, 1.0), teacher=(config, str(teacher)))
    said = []
    with ThreadPoolExecutor() as pool, open(teacher.parent / '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = pool.submit(prepare_teachers, [run], 'none', said.append)
        time.sleep(1.5)
        assert not ended.done()
        teacher.touch()
        fcntl.flock(lock, fcntl.LOCK_UN)
        ended.result(timeout=60)
    assert said == [f'waiting for the teacher {config}, which another process trains']


def test_trainings_at_a_time_have_a_gpu_each(tmp_path, monkeypatch):
    """Each says which it was given: its config starts from a file of that name."""
    config = tmp_path / 'given.py'
    config.write_text(
        f"import os\n_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'\n"
        "load_from = 'gpu ' + os.environ['CUDA_VISIBLE_DEVICES']\n"
    )
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,5')
    runs = plan_runs([str(config)], [0, 1], [], tmp_path)
    for run in runs:
        run.note()
    failures = run_all(runs, jobs=2, launcher='none', echo=lambda line: None)
    assert [failures[run].split(' does not exist')[0] for run in runs] == [
        'error: load_from=gpu 3',
        'error: load_from=gpu 5',
    ]


@pytest.mark.parametrize(
    'config, checkpoint, message',
    [
        ('configs/teachers/segformer_b0_streets.py', 'b0.pth', 'would yield best.pth'),
        ('mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py', 'best.pth', 'it needs val_'),
    ],
)
def test_a_teacher_that_no_training_would_yield_is_named(
    finished_run, tmp_path, config, checkpoint, message
):
    run = replace(finished_run('run', 0, 1.0), teacher=(config, str(tmp_path / 'new' / checkpoint)))
    with pytest.raises(UserError, match=message):
        prepare_teachers([run], 'none', print)
    assert not (tmp_path / 'new').exists()
