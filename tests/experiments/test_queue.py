import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mmkd.errors import UserError
from mmkd.experiments.plan import plan_runs
from mmkd.experiments.queue import prepare_teachers, run_all
from mmkd.experiments.run import load_run

ROOT = Path(__file__).resolve().parents[2]
BROKEN = f"""
_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'
model = dict(backbone=dict(out_indices=(0, 9)))
"""


def test_run_all_run_trained_elsewhere_is_waited_for(tmp_path):
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
    assert load_run(run.folder) == run  # the commit that trains it, not the one that planned it


def test_run_all_run_finished_elsewhere_is_not_repeated(unfinished):
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


def test_prepare_teachers_teacher_trained_elsewhere_is_waited_for(finished_run, tmp_path):
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


def test_run_all_parallel_trainings_have_a_gpu_each(tmp_path, monkeypatch):
    """Each says which it was given: its config starts from a file of that name."""
    config = tmp_path / 'given.py'
    config.write_text(
        # An import statement would make it a pure-Python config for MMEngine 0.10.7.
        f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'\n"
        "load_from = 'gpu ' + __import__('os').environ['CUDA_VISIBLE_DEVICES']\n"
    )
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,5')
    runs = plan_runs([str(config)], [0, 1], [], tmp_path)
    for run in runs:
        run.note()
    failures = run_all(runs, jobs=2, launcher='none', echo=lambda line: None)
    assert [failures[run].split(': expected')[0] for run in runs] == [
        'error: load_from=gpu 3',
        'error: load_from=gpu 5',
    ]


def test_run_all_detector_that_finds_nothing_says_which_score_is_missing(tmp_path):
    config = tmp_path / 'blind.py'
    config.write_text(
        f"_base_ = '{ROOT}/configs/students/retinanet_r18half_streets.py'\n"
        'model = dict(test_cfg=dict(score_thr=1.1))\n'
        'train_cfg = dict(max_iters=1, val_interval=1)\n'
        'loader = dict(batch_size=1, num_workers=0, dataset=dict(length=1))\n'
        'train_dataloader = val_dataloader = loader\n'
    )
    (run,) = plan_runs([str(config)], [0], [], tmp_path)
    run.note()
    failures = run_all([run], jobs=1, launcher='none', echo=lambda line: None)
    assert failures[run] == f'no validation reported {run.metric} ({run.folder}/train.log)'


@pytest.mark.parametrize(
    'config, checkpoint, message',
    [
        (
            'configs/teachers/segformer_b0_streets.py',
            'b0.pth',
            'expected an existing file or',
        ),
        (
            'mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py',
            'best.pth',
            'expected val_cfg',
        ),
    ],
)
def test_prepare_teachers_untrainable_teacher_raises_user_error(
    finished_run, tmp_path, config, checkpoint, message
):
    run = replace(finished_run('run', 0, 1.0), teacher=(config, str(tmp_path / 'new' / checkpoint)))
    with pytest.raises(UserError, match=message):
        prepare_teachers([run], 'none', print)
    assert not (tmp_path / 'new').exists()


STOPPED = """
import signal, sys, time
from dataclasses import replace
import mmkd.experiments.queue as queue
from mmkd.experiments.plan import plan_runs
# Trainings that take their time to end.
stub = 'trap "sleep 1; exit 1" TERM; touch started; while true; do sleep 0.1; done'
queue._command = lambda config, folder, launcher: ['bash', '-c', f'cd {folder}; ' + stub]
queue.teacher_is_ready = lambda path: True
runs = plan_runs(['a.py', 'b.py', 'c.py'], [0], [], 'runs')
for run in runs:
    run.note()
if sys.argv[1] == 'note':
    note = runs[2].folder / 'run.json'
    note.unlink()
    (note / 'x').mkdir(parents=True)
popen = queue.subprocess.Popen
def noted(*args, **kwargs):
    process = popen(*args, **kwargs)
    if kwargs.get('start_new_session'):
        print(process.pid, flush=True)
    return process
queue.subprocess.Popen = noted
def echo(line):
    if sys.argv[1] in ('echo', 'teacher') and 'training' in line:
        raise BrokenPipeError
if sys.argv[1] == 'teacher':
    queue.check_trainable = lambda config, checkpoint: None
    queue.teacher_is_ready = lambda path: False
    queue.prepare_teachers([replace(runs[0], teacher=('a.py', 'a/best.pth'))], 'none', echo)
else:
    queue.run_all(runs, jobs=3, launcher='none', echo=echo)
"""


@pytest.mark.parametrize(
    'case, signals, status, count',
    [
        ('hangup', [signal.SIGHUP], 128 + signal.SIGHUP, 3),
        ('interrupts', [signal.SIGINT] * 3, -signal.SIGINT, 3),
        ('mixed', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], 128 + signal.SIGTERM, 3),
        ('nohup', [signal.SIGHUP, signal.SIGTERM], 128 + signal.SIGTERM, 3),
        ('note', [], 1, 2),
        ('echo', [], 1, 1),
        ('teacher', [], 1, 1),
    ],
)
def test_end_trainings_leaves_no_process(tmp_path, case, signals, status, count):
    for name in 'abc':
        (tmp_path / f'{name}.py').write_text(
            f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'"
        )
    # What the test run itself ignores, as a background job does, must not count.
    hangup = '--ignore-signal=HUP' if case == 'nohup' else '--default-signal=HUP'
    process = subprocess.Popen(
        ['env', '--default-signal=INT', hangup, sys.executable, '-c', STOPPED, case],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    children = [int(process.stdout.readline()) for _ in range(count)]
    for number in signals:
        process.send_signal(number)
        time.sleep(0.3)
    assert process.wait() == status
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
