import fcntl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from mmkd.ablation.queue import prepare_teachers, run_all
from mmkd.ablation.runs import plan_runs

ROOT = Path(__file__).resolve().parents[2]
BROKEN = f"""
_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'
model = dict(backbone=dict(out_indices=(0, 9)))
"""


def test_a_run_that_still_goes_on_elsewhere_is_waited_for(tmp_path):
    (tmp_path / 'broken.py').write_text(BROKEN)
    (run,) = plan_runs([str(tmp_path / 'broken.py')], [0], [], tmp_path)
    run.note()
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


def test_a_teacher_that_trains_elsewhere_is_waited_for(finished_run, tmp_path):
    teacher = tmp_path / 'teacher/best.pth'
    teacher.parent.mkdir()
    run = replace(finished_run('run', 0, 1.0), teacher=('teacher.py', str(teacher)))
    said = []
    with ThreadPoolExecutor() as pool, open(teacher.parent / '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = pool.submit(prepare_teachers, [run], 'none', said.append)
        time.sleep(1.5)
        assert not ended.done()
        teacher.touch()
        fcntl.flock(lock, fcntl.LOCK_UN)
        ended.result(timeout=60)
    assert said == ['waiting for the teacher teacher.py, which another process trains']
