"""Real runs of YOLO11 under attention transfer, a few iterations long, on small pictures."""

import copy
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.errors import UserError
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]

# YOLO11-n, at the size of which all else is fast, on 64 x 64 pictures; mosaic ends amid the run.
SMALL = """
_base_ = '{root}/configs/{base}.py'
mosaic = [dict(type='Mosaic', img_scale=(64, 64)),
    dict(type='RandomResize', scale=(128, 128), ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64), allow_negative_crop=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    *_base_.mosaic_pipeline[4:]]
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
    pipeline=mosaic, mix_until_sample=5, dataset=dict(length=40, size=(64, 64))))
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4, size=(64, 64), pipeline=[
    dict(type='mmkd.RenderStreet'), dict(type='Resize', scale=(64, 64)),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=_base_.meta_keys)]))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=3), logger=dict(interval=1))
n = dict(backbone=dict(scale='n'), neck=dict(scale='n'), bbox_head=dict(scale='n'))
"""
TEACHER = SMALL + 'model = n\n'
RECIPE = (
    SMALL + "model = dict(student=n, teacher=dict(config='{teacher}', checkpoint='{weights}'))\n"
)


@pytest.fixture(scope='module')
def recipe_path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('yolo')
    teacher, weights, recipe = (folder / name for name in ('teacher.py', 'best.pth', 'recipe.py'))
    teacher.write_text(TEACHER.format(root=ROOT, base='teachers/yolo11l_streets'))
    recipe.write_text(
        RECIPE.format(root=ROOT, base='yolo11l_yolo11s_at', teacher=teacher, weights=weights)
    )
    torch.manual_seed(7)
    with DefaultScope.overwrite_default_scope('mmdet'):
        network = MODELS.build(Config.fromfile(teacher).model)
    torch.save(network.state_dict(), weights)
    return recipe


def train(path, work_dir, **changes) -> Runner:
    config = Config.fromfile(path)
    config.work_dir = str(work_dir)
    config.merge_from_dict(changes)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def run(recipe_path, tmp_path_factory) -> Runner:
    return train(recipe_path, tmp_path_factory.mktemp('run'))


def saved(runner, name: str) -> dict:
    return load_checkpoint_file(str(Path(runner.work_dir) / name))


def average(runner):
    """The averaged student's weights, under its own names."""
    (hook,) = (hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook')
    return hook.ema_model.module.student.state_dict()


def test_yolo_checkpoint_is_the_averaged_student(run):
    checkpoint, own = saved(run, 'iter_4.pth'), run.model.student.state_dict()
    assert checkpoint['state_dict'].keys() == own.keys()
    for key, value in checkpoint['state_dict'].items():
        assert torch.equal(value, average(run)[key])
    assert any(not torch.equal(value, own[key]) for key, value in average(run).items())
    assert checkpoint['distill'] == {}  # attention transfer has nothing to train


def test_yolo_resume_across_end_of_mosaic_equals_uninterrupted_run(run, recipe_path, tmp_path):
    train(recipe_path, tmp_path, **{'train_cfg.max_iters': 2})
    resumed = train(recipe_path, tmp_path, resume=True)
    for ours, theirs in (
        (resumed.model.state_dict(), run.model.state_dict()),
        (average(resumed), average(run)),
    ):
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_yolo_student_opens_in_mmdet(run, tmp_path):
    code = """
import torch
import mmkd  # the operators that mmdet asks for, where mmcv has none
from mmdet.apis import init_detector
model = init_detector('student.py', 'best.pth', device='cpu')
with torch.no_grad():
    scores, boxes = model(torch.full((1, 3, 64, 64), 0.3), mode='tensor')
torch.save([*scores, *boxes], 'outputs.pt')
"""
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    subprocess.run([sys.executable, '-c', code], check=True, cwd=run.work_dir, env=env)
    theirs = torch.load(Path(run.work_dir) / 'outputs.pt', weights_only=True)
    student = copy.deepcopy(run.model.student).eval()
    student.load_state_dict(saved(run, 'best.pth')['state_dict'])
    with torch.no_grad():
        scores, boxes = student(torch.full((1, 3, 64, 64), 0.3), mode='tensor')
    assert all(torch.equal(a, b) for a, b in zip(theirs, [*scores, *boxes], strict=True))


def test_yolo_terms_tap_the_papers_layers(run):
    """The terms' values are those of the features at the modules that the numbers stand for."""
    distiller = copy.deepcopy(run.model).eval()
    batch = next(iter(run.train_dataloader))
    data = distiller.data_preprocessor(batch, True)
    losses = distiller(**data, mode='loss')
    features = []
    for network in (distiller.student, distiller.teacher.network):
        images = data['inputs']
        stride8 = network.backbone.stage2(network.backbone.stage1(network.backbone.stem(images)))
        stride16 = network.backbone.stage3(stride8)
        stage8 = network.backbone.stage4[:2](stride16)
        levels = network.neck((stride8, stride16, network.backbone.stage4[2:](stage8)))
        features.append({6: stride16, 8: stage8, 16: levels[0], 19: levels[1], 22: levels[2]})
    for i, feature in features[0].items():
        term = distiller.distill[f'layer{i}']
        torch.testing.assert_close(losses[f'distill.layer{i}'], term.loss(feature, features[1][i]))


@pytest.mark.parametrize(
    'side, tap, message',
    [
        ('student', 'yolo[7000]', r"'yolo\[7000\]': expected a layer.*: yolo\[0\].*yolo\[23\]"),
        ('teacher', 'yolo[11]', r"'yolo\[11\]': expected a layer of this network"),
        ('student', 'yolo', "'yolo': expected a layer of this network"),
        ('teacher', 'yolo[23]', "'bbox_head' gives a tuple of 2: expected a tensor; add an index"),
        ('teacher', 'bbox_head[0][3]', 'is a tuple of 3'),
    ],
)
def test_yolo_terms_wrong_layers_raise_user_error(recipe_path, side, tap, message):
    model = Config.fromfile(recipe_path).model
    model.distill.layer16[side] = tap
    with (
        DefaultScope.overwrite_default_scope('mmdet'),
        pytest.raises(UserError, match=f'model.distill.layer16: .*{message}'),
    ):
        MODELS.build(model)


def test_yolo_training_of_two_processes_works(recipe_path, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    env = dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1', PORT=port)
    options = ['--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_iters=2']
    result = subprocess.run(
        [ROOT / 'tools/dist_train.sh', recipe_path, '2', *options],
        env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[:3000]
    assert load_checkpoint_file(str(tmp_path / 'iter_2.pth'))['meta']['iter'] == 2
