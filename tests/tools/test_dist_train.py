"""Processes that train together over gloo, started by ``tools/dist_train.sh``."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmkd.checkpoint import load_checkpoint_file
from mmkd.configs import model_config
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = [  # without padding: the mean over pixels is then one over processes
    dict(type='mmkd.SeedAugmentation'),
    dict(type='mmkd.LoadStreet'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]


def start(folder: Path, config: Path, processes: int, *args) -> subprocess.Popen:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    with open(folder / 'said.txt', 'w') as said:
        return subprocess.Popen(
            [ROOT / 'tools/dist_train.sh', config, str(processes), *map(str, args)],
            env=os.environ | dict(PYTHON=sys.executable, OMP_NUM_THREADS='1', PORT=port),
            cwd=folder, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip


def without_batch_statistics(node) -> None:
    """GroupNorm for BatchNorm, no dropout: what a sample yields does not hang on its batch."""
    if isinstance(node, list):
        for item in node:
            without_batch_statistics(item)
    if isinstance(node, dict):
        if node.get('type') == 'BN':
            node.update(type='GN', num_groups=8)
        if 'loss_decode' in node:
            node['dropout_ratio'] = 0.0
        for value in node.values():
            without_batch_statistics(value)


@pytest.fixture
def one_step(teacher_files, tmp_path):
    """Writes a flagship's config for one step of descent at the rate 1 on four images.

    What the step takes from the weights is the gradient.
    """
    teacher, checkpoint = teacher_files

    def write(flagship: str, batch_size: int) -> Path:
        config = Config.fromfile(ROOT / f'configs/{flagship}.py')
        without_batch_statistics(config.model.student)
        torch.manual_seed(1)
        start = tmp_path / 'start.pth'
        torch.save(
            {'state_dict': MODELS.build(model_config(config)).state_dict(), 'meta': {}}, start
        )
        optimizer = dict(type='SGD', lr=1.0, momentum=0.0, weight_decay=0.0)
        config.merge_from_dict(
            dict(
                model=dict(teacher=dict(config=teacher, checkpoint=checkpoint)),
                optim_wrapper=dict(_delete_=True, type='OptimWrapper', optimizer=optimizer),
                train_dataloader=dict(
                    batch_size=batch_size, num_workers=0, persistent_workers=False,
                    dataset=dict(size=(64, 96), pipeline=PIPELINE),
                ),
                val_dataloader=dict(batch_size=1, num_workers=0, dataset=dict(length=4)),
                train_cfg=dict(max_iters=1, val_interval=1),
                param_scheduler=None,
                load_from=str(start),
                work_dir=str(tmp_path / f'of_{batch_size}'),
            )
        )  # fmt: skip
        path = tmp_path / f'one_step_{batch_size}.py'
        config.dump(path)
        return path

    return write


FLAGSHIPS = ['segformer_fastscnn_freq', 'segformer_fastscnn_spectral']


@pytest.mark.parametrize(
    'flagship, processes',
    [
        (FLAGSHIPS[0], 2),
        *(
            pytest.param(flagship, processes, marks=pytest.mark.slow)
            for flagship, processes in ((FLAGSHIPS[0], 4), (FLAGSHIPS[1], 2), (FLAGSHIPS[1], 4))
        ),
    ],
)
def test_gradients_are_those_of_one_process(one_step, tmp_path, flagship, processes):
    together = start(tmp_path, one_step(flagship, 4 // processes), processes)
    alone = Config.fromfile(one_step(flagship, 4))
    Runner.from_cfg(alone).train()
    assert together.wait(timeout=900) == 0, (tmp_path / 'said.txt').read_text()[-3000:]

    work = tmp_path / f'of_{4 // processes}'
    before, expected, ours = (
        load_checkpoint_file(path)['state_dict']
        for path in (tmp_path / 'start.pth', tmp_path / 'of_4/iter_1.pth', work / 'iter_1.pth')
    )
    gradients = {name: before[name] - expected[name] for name in before}
    assert max(gradient.abs().max() for gradient in gradients.values()) > 0.1
    for name, gradient in gradients.items():
        torch.testing.assert_close(before[name] - ours[name], gradient, rtol=0, atol=1e-6)
    # The first process alone writes.
    names = [
        sorted(re.sub(r'\d{8}_\d{6}', '', str(p.relative_to(folder))) for p in folder.rglob('*'))
        for folder in (work, tmp_path / 'of_4')
    ]
    names = [[n for n in group if not n.startswith('one_step')] for group in names]
    assert names[0] == names[1]


BY_RICHNESS = """
_base_ = ['{recipe}', '{root}/configs/_base_/distillers/frs_one_stage.py']
terms = _base_.distill
model = dict(distill=dict(
    _delete_=True, feature=dict(terms.feature, weight=0.005), head=dict(terms.head, weight=0.02)))
"""


def test_two_processes_score_as_their_checkpoint_does(detection_files, tmp_path):
    """A small RetinaNet by feature richness, with BatchNorm over each process's own images."""
    path, work = tmp_path / 'frs.py', tmp_path / 'work'
    path.write_text(BY_RICHNESS.format(recipe=detection_files['recipe'], root=ROOT))
    options = ['--work-dir', work, '--cfg-options', 'train_cfg.max_iters=2']
    status = start(tmp_path, path, 2, *options).wait(timeout=300)
    assert status == 0, (tmp_path / 'said.txt').read_text()[-3000:]
    (log,) = work.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[1]['distill.feature'] > 0 and lines[1]['distill.head'] > 0
    scores = next(line for line in lines if 'lr' not in line)

    student = Config.fromfile(work / 'student.py')
    student.test_evaluator = student.val_evaluator
    student.merge_from_dict(dict(load_from=str(work / 'iter_2.pth'), work_dir=str(tmp_path)))
    expected = Runner.from_cfg(student).test()
    assert max(expected.values()) > 0
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def test_one_teacher_and_the_end_of_all_when_one_dies(recipe_file, teacher_files, tmp_path):
    text = recipe_file.read_text().replace(teacher_files[1], 'work_dirs/teacher/best.pth')
    recipe_file.write_text(text)
    options = ['train_cfg.max_iters=100000', 'train_cfg.val_interval=100000']
    together = start(tmp_path, recipe_file, 2, '--cfg-options', *options)
    try:
        said, end = tmp_path / 'said.txt', time.monotonic() + 240
        while 'distill.encoder' not in said.read_text():
            assert together.poll() is None and time.monotonic() < end, said.read_text()[-3000:]
            time.sleep(0.2)
        (log,) = tmp_path.glob('work_dirs/teacher/*/*.log')
        assert log.read_text().count('Saving checkpoint at 2 iterations') == 1
        ranks = children(together.pid)
        assert len(ranks) == 2
        os.kill(ranks[-1], signal.SIGKILL)
        status = together.wait(timeout=60)
    finally:
        together.kill()
    assert status > 0, said.read_text()[-3000:]
    assert not any(Path(f'/proc/{rank}').exists() for rank in ranks)
