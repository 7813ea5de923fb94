"""The ablation command, with real trainings of a few iterations."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmkd.config.load import load_work_dir_config

ROOT = Path(__file__).resolve().parents[2]
TINY = """
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
train_cfg = dict(max_iters={iters}, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
"""


# Stands in for a cluster: notes down what it is asked to run, and fails.
SRUN = """#!/bin/sh
echo "$@" > asked.txt
exit 3
"""


@pytest.fixture
def folder(tmp_path, write_recipe, teacher_files):
    """A working directory with configs alone.py, recipe.py (distilled), broken.py, long.py.

    The teacher is still to be trained.
    """
    base = f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'\n"
    (tmp_path / 'alone.py').write_text(base + TINY.format(iters=4))
    (tmp_path / 'long.py').write_text(base + TINY.format(iters=30))
    (tmp_path / 'broken.py').write_text(base + 'model = dict(backbone=dict(out_indices=(0, 9)))\n')
    recipe = write_recipe(tmp_path)
    recipe.write_text(recipe.read_text().replace(teacher_files[1], 'work_dirs/teacher/best.pth'))
    return tmp_path


def start(folder, *args, **environment) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / 'tools/ablate.py'), *map(str, args)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT)) | environment,
    )  # fmt: skip


def last_score(folder, name) -> float:
    (log,) = folder.glob(f'work_dirs/ablation/{name}/seed_0/*/vis_data/scalars.json')
    lines = map(json.loads, log.read_text().splitlines())
    return [line['mIoU'] for line in lines if 'mIoU' in line][-1]


def test_ablate_compares_finished_and_reports_failed_runs(folder):
    ablation = start(folder, 'broken.py', 'alone.py', 'recipe.py', '--jobs', 2, '--per-class')
    out, err = ablation.communicate(timeout=900)
    assert ablation.returncode == 2
    assert '[3/3]' in out and 'eta' in out
    # The ablation trains the teacher; the distillation finds it.
    assert out.count('training the teacher') == 1
    assert (folder / 'work_dirs/teacher/best.pth').is_file()
    assert 'half trained' not in (folder / 'work_dirs/ablation/recipe/seed_0/train.log').read_text()
    last = err.strip().splitlines()[-1]
    assert last.startswith('error: 1 runs failed: broken seed 0: ') and 'train.log' in last

    results = folder / 'work_dirs/ablation'
    rows = {row['config']: row for row in csv.DictReader((results / 'ablation.csv').open())}
    for name in ('alone', 'recipe'):
        assert float(rows[name]['last']) == pytest.approx(last_score(folder, name), abs=1e-3)
    assert rows['broken']['status'] == 'unfinished'
    table = (results / 'ablation.md').read_text()
    delta = last_score(folder, 'recipe') - last_score(folder, 'alone')
    assert f'{delta:+.2f}' in next(line for line in table.splitlines() if '| recipe ' in line)
    assert 'broken seed 0' in table and '| IoU | Sky |' in table
    # The mean over classes is the very score that training logged, absent classes left out.
    by_class = json.loads((results / 'alone/seed_0/class_iou.json').read_text())['iou']
    known = [value for value in by_class.values() if value == value]
    assert sum(known) / len(known) == pytest.approx(last_score(folder, 'alone'), abs=0.01)
    for plot in ('scores.png', 'curves.png', 'classes.png'):
        assert (results / plot).read_bytes().startswith(b'\x89PNG')

    again = start(folder, 'alone.py', 'recipe.py')
    out, _ = again.communicate(timeout=900)
    assert again.returncode == 0
    assert '2 of 2 runs are finished already' in out and 'training in' not in out


def test_ablate_teacher_views_are_made_after_the_teacher_and_read(folder):
    (folder / 'recipe.py').write_text(
        (folder / 'recipe.py').read_text() + 'train_dataloader.update(dataset=dict(length=6))\n'
    )
    ablation = start(folder, 'recipe.py', 'alone.py', '--teacher-views', 2)
    out, err = ablation.communicate(timeout=900)
    assert ablation.returncode == 0, err
    lines = [
        line for line in out.splitlines() if line.startswith(('training the', 'teacher views'))
    ]
    assert lines[0].startswith('training the teacher') and '2 of each of 6 images' in lines[2]
    configs = {
        name: load_work_dir_config(folder / f'work_dirs/ablation/{name}/seed_0')
        for name in ('alone', 'recipe')
    }
    assert configs['recipe'].train_dataloader.sampler.views == 2
    assert 'views' not in configs['alone'].train_dataloader.sampler
    assert f'{last_score(folder, "recipe"):.2f}' in out


def test_ablate_terminated_ends_trainings_and_resumes(folder):
    first = start(folder, 'long.py')
    run = folder / 'work_dirs/ablation/long/seed_0'
    deadline = time.monotonic() + 200
    while not (run / 'last_checkpoint').is_file():
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode == 143
    processes = [p for p in Path('/proc').iterdir() if p.name.isdigit()]
    commands = [read(p / 'cmdline') for p in processes]
    assert not any(str(folder) in c or 'ablation/long' in c for c in commands)
    assert (run / 'training_unfinished').exists()

    second = start(folder, 'long.py')
    out, err = second.communicate(timeout=900)
    assert second.returncode == 0, err
    assert 'resumed' in (run / 'train.log').read_text()
    assert '| long |' in out


@pytest.mark.parametrize('trust', [[], ['--trust-pickles']])
def test_ablate_on_slurm_every_run_is_a_job(folder, trust):
    (folder / 'srun').write_text(SRUN)
    (folder / 'srun').chmod(0o755)
    path = f'{folder}:{os.environ["PATH"]}'
    options = ['alone.py', '--seeds', 3, '--launcher', 'slurm', '--cfg-options', 'log_level=INFO']
    ablation = start(folder, *options, *trust, PATH=path, PARTITION='gpu', GPUS='2')
    _, err = ablation.communicate(timeout=300)
    assert ablation.returncode == 2
    asked = (folder / 'asked.txt').read_text()
    work = 'work_dirs/ablation/alone/seed_3'
    for part in (
        '--partition=gpu', '--job-name=alone', '--ntasks=2',
        f'alone.py --work-dir {work} --launcher slurm '
        f'{" ".join(["--resume", *trust])} --cfg-options log_level=INFO',
    ):  # fmt: skip
        assert part in asked
    assert asked.endswith('randomness.seed=3\n')
    assert '1 runs failed: alone seed 3' in err

    ablation = start(folder, *options, PATH=path)
    _, err = ablation.communicate(timeout=300)
    assert 'error: PARTITION: expected this environment variable with --launcher slurm' in err


def test_ablate_classes_of_detector_fail_before_training(folder):
    config = ROOT / 'configs/students/yolo11n_bccd.py'
    _, err = start(folder, config, '--per-class').communicate(timeout=300)
    assert err.strip().endswith('has coco/bbox_mAP: expected the metric mIoU')
    assert not (folder / 'work_dirs').exists()


def read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors='replace')
    except OSError:
        return ''
