"""Small but real networks and configs: a SegFormer teacher and a Fast-SCNN student."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

import mmkd  # noqa: F401  (registers)
from mmkd.ablation.runs import Run
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parent.parent

# A flagship recipe of a few iterations; what a test needs beyond it, it merges.
RECIPE = """
_base_ = '{root}/configs/segformer_fastscnn_freq.py'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
test_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=3), logger=dict(interval=1))
model = dict(teacher=dict(config='{teacher}', checkpoint='{checkpoint}'))
"""

TEACHER = """
_base_ = '{root}/configs/teachers/segformer_b0_streets.py'
model = dict(
    backbone=dict(embed_dims=8), decode_head=dict(in_channels=[8, 16, 40, 64], channels=32))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture(autouse=True)
def _mmseg_scope():
    init_default_scope('mmseg')


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder with real data and reference outputs."""
    folder = Path(os.environ.get('MMKD_SHARED', ROOT.parent / 'shared'))
    if not folder.is_dir():
        pytest.skip('needs the shared data: ../shared or $MMKD_SHARED')
    return folder


@pytest.fixture(scope='session')
def teacher_files(tmp_path_factory) -> tuple[str, str]:
    """Config and checkpoint of a small SegFormer with random weights."""
    init_default_scope('mmseg')
    folder = tmp_path_factory.mktemp('teacher')
    config = folder / 'teacher.py'
    config.write_text(TEACHER.format(root=ROOT))
    torch.manual_seed(7)
    network = MODELS.build(Config.fromfile(config).model)
    network.init_weights()
    checkpoint = folder / 'best.pth'
    torch.save({'state_dict': network.state_dict(), 'meta': {}}, checkpoint)
    return str(config), str(checkpoint)


@pytest.fixture(scope='session')
def write_recipe(teacher_files):
    """Writes a distillation config that trains for four iterations into a folder."""

    def write(folder: Path) -> Path:
        config, checkpoint = teacher_files
        path = folder / 'recipe.py'
        path.write_text(RECIPE.format(root=ROOT, teacher=config, checkpoint=checkpoint))
        return path

    return write


@pytest.fixture
def recipe_file(tmp_path, write_recipe) -> Path:
    return write_recipe(tmp_path)


@pytest.fixture
def recipe(recipe_file, tmp_path) -> Config:
    config = Config.fromfile(recipe_file)
    config.work_dir = str(tmp_path / 'work')
    return config


@pytest.fixture
def model_config(recipe) -> ConfigDict:
    """The recipe's ``model``, to build or to break."""
    return copy.deepcopy(recipe.model)


@pytest.fixture
def distiller(model_config):
    torch.manual_seed(0)
    return MODELS.build(model_config)


@pytest.fixture
def finished_run(tmp_path) -> Callable[..., Run]:
    """Makes the folder of a run that has ended, with scores at its validations."""

    def make(
        name: str, seed: int, *scores: float, distilled: bool = True, student: str = 's'
    ) -> Run:
        run = Run(
            folder=tmp_path / name / f'seed_{seed}', config=f'configs/{name}.py', seed=seed,
            options=(), fingerprint=f'{name}{seed}', student=student, distilled=distilled,
            metric='mIoU', length=10 * len(scores), by_epoch=False, commit='abc',
        )  # fmt: skip
        run.note()
        lines = []
        for i, score in enumerate(scores, 1):
            train = dict(lr=0.1, loss=3.0, time=0.5, iter=10 * i, step=10 * i)
            if distilled:
                train |= {'distill.encoder': 1.0, 'weight.encoder': 0.5}
            lines += [train, dict(mIoU=score, step=10 * i)]
        log = run.folder / '20260101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('\n'.join(map(json.dumps, lines)))
        return run

    return make


@pytest.fixture
def unfinished(finished_run) -> Callable[..., Run]:
    def make(name: str, seed: int) -> Run:
        run = finished_run(name, seed, 1.0, 2.0)
        Path(run.folder, 'training_unfinished').touch()
        return run

    return make
