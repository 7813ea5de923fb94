"""Processes that train together over gloo, started by ``tools/dist_train.sh``."""

import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.config.student import model_config
from mmkd.models.yolo11.blocks import NORM
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
FREQ, SPECTRAL = 'segformer_fastscnn_freq', 'segformer_fastscnn_spectral'
YOLO11 = 'yolo11l_yolo11s_at'
SEGMENTATION = dict(
    size=(64, 96),
    pipeline=[  # without padding: the mean over pixels is then one over processes
        dict(type='mmkd.SeedTransforms'),
        dict(type='mmkd.RenderStreet'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackSegInputs'),
    ],
)
DETECTION = dict(
    _delete_=True,
    type='mmkd.StreetScenesDet',
    split='train',
    length=40,
    size=(64, 96),
    pipeline=[
        dict(type='mmkd.SeedTransforms'),
        dict(type='mmkd.RenderStreet'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ],
)


# Imported by each process that is compared. YOLO11's blocks have no norm_cfg.
COMPARABLE = """
import torch

from mmkd.models.yolo11.blocks import NORM

torch.set_default_dtype({dtype})
del NORM['momentum']
NORM.update(type='GN', num_groups=8)
"""


def start(folder: Path, config: Path, processes: int, *args) -> subprocess.Popen:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    with open(folder / 'said.txt', 'w') as said:
        return subprocess.Popen(
            [ROOT / 'tools/dist_train.sh', config, str(processes), *map(str, args)],
            env=os.environ | dict(
                PYTHON=sys.executable, PYTHONPATH=str(folder), OMP_NUM_THREADS='1', PORT=port
            ),
            cwd=folder, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip


def without_chance(node) -> None:
    """No dropout, all boxes, GroupNorm for BatchNorm: what a sample yields is its own."""
    if isinstance(node, list):
        for item in node:
            without_chance(item)
    if isinstance(node, dict):
        if node.get('type') == 'BN':
            node.update(type='GN', num_groups=8)
        if node.get('type') == 'RandomSampler':
            node['num'] = 1_000_000
        if 'loss_decode' in node:
            node['dropout_ratio'] = 0.0
        if 'drop_path_rate' in node:
            node['drop_path_rate'] = 0.0
        for value in node.values():
            without_chance(value)


def save_random(config: Config, path: Path) -> str:
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        network = MODELS.build(model_config(config))
    torch.save({'state_dict': network.state_dict(), 'meta': {}}, path)
    return str(path)


@pytest.fixture
def one_step(tmp_path, monkeypatch):
    """Writes a flagship's config for one step of descent at the rate 1 on four images or fewer.

    What the step takes from the weights is the gradient. ``batches`` one after another may make up
    the step. It is compared in float64: in float32 the order of a sum alone moves single numbers of
    a gradient by 1e-6. But Faster R-CNN suppresses boxes amid a step, which mmcv does in float32.
    """

    def write(
        flagship: str, name: str, batch_size: int, batches: int = 1, shard: bool = False
    ) -> Path:
        config = Config.fromfile(ROOT / f'configs/{flagship}.py')
        segments = config.default_scope == 'mmseg'
        dtype = torch.float32 if config.model.student.type == 'FasterRCNN' else torch.float64
        torch.set_default_dtype(dtype)
        (tmp_path / 'comparable.py').write_text(COMPARABLE.format(dtype=dtype))
        without_chance(config.model.student)
        start = save_random(config, tmp_path / 'start.pth')
        for term in config.model.distill.values():
            term.schedule = None  # a warm-up begins at no weight at all
        data = SEGMENTATION if segments else DETECTION
        if flagship == YOLO11:
            for term in config.model.distill.values():
                term.loss.distance = 'l2'  # that over a batch is no mean over its images
            data = DETECTION | dict(size=(192, 256))  # for a normaliser above 1
        teacher = str(ROOT / config.model.teacher.config)
        taught = save_random(Config.fromfile(teacher), tmp_path / 'teacher.pth')
        optimizer = dict(type='SGD', lr=1.0, momentum=0.0, weight_decay=0.0)
        if not segments:  # after one step a detector finds nothing to score
            config.update(val_cfg=None, val_dataloader=None, val_evaluator=None)
        config.merge_from_dict(
            dict(
                model=dict(
                    teacher=dict(config=teacher, checkpoint=taught, shard=shard)
                ),
                optim_wrapper=dict(
                    _delete_=True, type='OptimWrapper', optimizer=optimizer,
                    accumulative_counts=batches,
                ),
                train_dataloader=dict(
                    batch_size=batch_size, num_workers=0, persistent_workers=False,
                    dataset=copy.deepcopy(data),
                ),
                train_cfg=dict(max_iters=batches, val_interval=batches),
                default_hooks=dict(checkpoint=dict(interval=batches)),
                param_scheduler=None,
                load_from=start,
                work_dir=str(tmp_path / name),
            )
        )  # fmt: skip
        if segments:
            config.val_dataloader.update(batch_size=1, num_workers=0)
            config.val_dataloader.dataset.length = 4
        config.custom_imports.imports.append('comparable')
        path = tmp_path / f'{name}.py'
        config.dump(path)
        return path

    # This process is to be as those that import COMPARABLE.
    monkeypatch.delitem(NORM, 'momentum')
    monkeypatch.setitem(NORM, 'type', 'GN')
    monkeypatch.setitem(NORM, 'num_groups', 8)
    yield write
    torch.set_default_dtype(torch.float32)


def train_both(folder: Path, together: Path, processes: int, alone: Path) -> str:
    """Runs one config on several processes, which say what is returned, and one on this alone."""
    group = start(folder, together, processes)
    Runner.from_cfg(Config.fromfile(alone, import_custom_modules=False)).train()
    status, said = group.wait(timeout=900), (folder / 'said.txt').read_text()
    assert status == 0, said[-3000:]
    return said


def assert_same_step(alone: Path, together: Path, of_largest: float = 0.0) -> None:
    before, expected, ours = (
        load_checkpoint_file(path) for path in (alone.parents[1] / 'start.pth', alone, together)
    )
    averages = ('running_mean', 'running_var', 'num_batches_tracked')  # of the first process
    names = [name for name in before['state_dict'] if not name.endswith(averages)]
    before, expected_state, our_state = (c['state_dict'] for c in (before, expected, ours))
    gradients = {name: before[name] - expected_state[name] for name in names}
    largest = max(gradient.abs().max() for gradient in gradients.values())
    assert largest > 0.1
    bound = of_largest * largest or (1e-9 if largest.dtype == torch.float64 else 1e-6)
    close = partial(torch.testing.assert_close, rtol=0, atol=float(bound))
    for name, gradient in gradients.items():
        close(before[name] - our_state[name], gradient)
    for name, weight in expected['distill'].items():
        close(ours['distill'][name], weight)


def both(first: str, *others: str) -> list:
    """Each on two and four processes; one of them in the default suite."""
    cases = [(name, n) for name in (first, *others) for n in (2, 4)]
    return [cases[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in cases[1:])]


MEANS = both(FREQ, SPECTRAL, 'segformer_vmamba_freq', 'segformer_vmamba_spectral', YOLO11)


@pytest.mark.parametrize('flagship, processes', MEANS)
def test_dist_train_gradients_equal_one_process(one_step, tmp_path, flagship, processes):
    alone = one_step(flagship, 'alone', 4)
    train_both(tmp_path, one_step(flagship, 'together', 4 // processes), processes, alone)
    # MMDetection rounds class targets to float32 and adds float32's epsilon to its divisors.
    of_largest = 2e-7 if flagship == YOLO11 else 0.0
    assert_same_step(tmp_path / 'alone/iter_1.pth', tmp_path / 'together/iter_1.pth', of_largest)
    # The first process alone writes.
    names = [
        sorted(re.sub(r'\d{8}_\d{6}', '', str(p.relative_to(folder))) for p in folder.rglob('*'))
        for folder in (tmp_path / 'together', tmp_path / 'alone')
    ]
    own = ('together.py', 'alone.py', '.lock')  # a Runner alone is not locked
    names = [[n for n in group if not n.endswith(own)] for group in names]
    assert names[0] == names[1]


@pytest.mark.slow
def test_dist_train_gradient_share_equals_one_process(one_step, tmp_path):
    alone, together = (one_step(FREQ, *run) for run in (('alone', 4), ('together', 2)))
    for path in (alone, together):
        config = Config.fromfile(path, import_custom_modules=False)
        config.model.distill.encoder.weight = dict(type='gradient_share', share=0.2)
        dataset = config.train_dataloader.dataset
        config.default_hooks.unlabelled = dict(type='mmkd.UnlabelledImagesHook', dataset=dataset)
        config.dump(path)
    train_both(tmp_path, together, 2, alone)
    assert_same_step(tmp_path / 'alone/iter_1.pth', tmp_path / 'together/iter_1.pth')
    saved = load_checkpoint_file(tmp_path / 'together/iter_1.pth')['distill']
    assert saved['encoder.weight._extra_state'] > 0


@pytest.mark.slow
@pytest.mark.parametrize('flagship', [FREQ, SPECTRAL])
def test_dist_train_sharded_teacher_equals_whole(one_step, tmp_path, flagship):
    alone = one_step(flagship, 'alone', 4)
    said = train_both(tmp_path, one_step(flagship, 'together', 2, shard=True), 2, alone)
    assert_same_step(tmp_path / 'alone/iter_1.pth', tmp_path / 'together/iter_1.pth')
    parts = re.findall(r'the teacher is sharded: (\d+) of (\d+) weights', said)
    assert parts and all(int(own) <= 0.51 * int(total) for own, total in parts)
    scores = [
        load_checkpoint_file(tmp_path / name / 'iter_1.pth')['meta']['teacher_score']
        for name in ('together', 'alone')
    ]
    assert scores[0] == scores[1]


@pytest.mark.slow
@pytest.mark.parametrize('processes', [2, 4])
@pytest.mark.parametrize(
    'flagship',
    ['segformer_fastscnn_at', 'retinanet_r18_r18half_frs', 'faster_rcnn_r18_r18half_frs'],
)
def test_dist_train_gradients_are_mean_of_processes(one_step, tmp_path, flagship, processes):
    """Of losses that are no mean over samples: each process's is that of its own images."""
    alone = one_step(flagship, 'alone', 1, batches=processes)
    train_both(tmp_path, one_step(flagship, 'together', 1), processes, alone)
    last = tmp_path / f'alone/iter_{processes}.pth'
    assert_same_step(last, tmp_path / 'together/iter_1.pth')


BY_RICHNESS = """
_base_ = ['{recipe}', '{root}/configs/_base_/distillers/frs_one_stage.py']
terms = _base_.distill
model = dict(distill=dict(
    _delete_=True, feature=dict(terms.feature, weight=0.005), head=dict(terms.head, weight=0.02)))
"""


def test_dist_train_score_equals_checkpoint_score(detection_files, tmp_path):
    """A small RetinaNet by feature richness, with BatchNorm over each process's own images."""
    path, work = tmp_path / 'frs.py', tmp_path / 'work'
    path.write_text(BY_RICHNESS.format(recipe=detection_files['recipe'], root=ROOT))
    options = ['--work-dir', work, '--cfg-options', 'train_cfg.max_iters=2']
    status = start(tmp_path, path, 2, *options).wait(timeout=900)
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


def test_dist_train_trains_one_teacher_and_ends_all_if_one_dies(
    recipe_file, teacher_files, tmp_path
):
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
