"""A real run of VMamba's recipe, a few iterations long, with a quarter of the channels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmkd.checkpoints.safe_load import load_checkpoint_file

ROOT = Path(__file__).resolve().parents[2]

SMALL = """
_base_ = '{root}/configs/segformer_vmamba_freq.py'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
test_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=3), logger=dict(interval=1))
model = dict(
    student=dict(
        backbone=dict(arch=None, depths=(1, 1, 1, 1), dims=8),
        decode_head=dict(in_channels=[8, 16, 32, 64], channels=16)),
    teacher=dict(config='{teacher}', checkpoint='{checkpoint}'))
"""


@pytest.fixture(scope='module')
def runner(tmp_path_factory, teacher_files) -> Runner:
    folder = tmp_path_factory.mktemp('vmamba')
    config, checkpoint = teacher_files
    path = folder / 'recipe.py'
    path.write_text(SMALL.format(root=ROOT, teacher=config, checkpoint=checkpoint))
    config = Config.fromfile(path)
    config.work_dir = str(folder / 'work')
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def test_vmamba_training_distils_every_stage(runner):
    for i in range(4):
        assert runner.message_hub.get_scalar(f'train/distill.stage{i + 1}').current() > 0
    start = load_checkpoint_file(str(Path(runner.work_dir) / 'iter_2.pth'))['state_dict']
    end = load_checkpoint_file(str(Path(runner.work_dir) / 'iter_4.pth'))['state_dict']
    still = [k for k in end if end[k].is_floating_point() and torch.equal(start[k], end[k])]
    assert still == []


def test_vmamba_training_scan_decays_have_no_weight_decay(runner):
    names = {id(p): n for n, p in runner.model.named_parameters()}
    for group in runner.optim_wrapper.optimizer.param_groups:
        for name in (names[id(p)] for p in group['params']):
            kept = any(part in name for part in ('A_logs', '.Ds', 'norm'))
            assert (group['weight_decay'] == 0) == kept, name


def test_vmamba_training_student_opens_in_mmseg(runner):
    code = """
import sys, torch, numpy as np
import mmkd  # the operators that mmseg may ask for, where mmcv has none
from mmseg.apis import init_model, inference_model
model = init_model('student.py', 'best.pth', device='cpu')
image = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
torch.save([inference_model(model, image).seg_logits.data, model.state_dict()], sys.argv[1])
"""
    out = Path(runner.work_dir) / 'opened.pt'
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    subprocess.run([sys.executable, '-c', code, out], check=True, cwd=runner.work_dir, env=env)
    logits, weights = torch.load(out, weights_only=True)
    assert logits.shape == (11, 97, 131) and torch.isfinite(logits).all()
    saved = load_checkpoint_file(str(Path(runner.work_dir) / 'best.pth'))['state_dict']
    assert weights.keys() == saved.keys()
    assert all(torch.equal(weights[k], saved[k]) for k in saved)
