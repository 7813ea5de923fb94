"""Real runs of the flagship's recipe, a few iterations long."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.apis import init_model
from mmseg.structures import SegDataSample

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.distillation.teacher_inputs import TeacherInputs
from mmkd.engine.hooks import ValidateTeacherHook
from mmkd.experiments.record import load_record
from mmkd.openmmlab.operators.install import uses_mmkd_operators


def train(config, work_dir, **changes) -> Runner:
    config = copy.deepcopy(config)
    config.work_dir = str(work_dir)
    config.merge_from_dict(changes)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope='module')
def run(tmp_path_factory, write_recipe):
    """One finished run, with an adapter and dropout's randomness in it."""
    init_default_scope('mmseg')
    folder = tmp_path_factory.mktemp('run')
    config = Config.fromfile(write_recipe(folder))
    config.model.distill.feature = dict(
        student='backbone[1]',
        teacher='backbone[3]',
        adapter=dict(type='Conv2d', kernel_size=1),
        loss=dict(type='FrequencyAttentionLoss', low=1, high=1, cutoff=1, compare='feature'),
    )
    return config, train(config, folder / 'work')


def checkpoint_of(runner, name='iter_4.pth') -> dict:
    return load_checkpoint_file(str(Path(runner.work_dir) / name))


def test_training_checkpoint_is_the_student(run):
    config, runner = run
    saved = checkpoint_of(runner)
    student = runner.model.student.state_dict()
    assert same(saved['state_dict'], student)
    assert set(saved['distill']) == {'feature.adapter.0.weight', 'feature.adapter.0.bias'}
    assert 'teacher' not in str(list(saved['state_dict']))


def test_training_best_checkpoint_has_a_fixed_name(run):
    config, runner = run
    folder = Path(runner.work_dir)
    named = [p for p in folder.glob('best_mIoU*.pth')]
    assert len(named) == 1 and named[0].read_bytes() == (folder / 'best.pth').read_bytes()


def test_training_best_checkpoint_opens_with_weights_only(run):
    config, runner = run
    path = str(Path(runner.work_dir) / 'best.pth')
    code = f'import torch; print(len(torch.load({path!r}, weights_only=True)["state_dict"]))'
    done = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    assert int(done.stdout) == len(runner.model.student.state_dict())


# The maintained MMSegmentation can do without operators. The original one imports them.
@pytest.mark.skipif(
    uses_mmkd_operators() and mmseg.__version__ == '1.2.2',
    reason='MMSegmentation 1.2.2 imports operators, which mmcv does not have here',
)
def test_training_student_opens_in_mmseg_without_mmkd(run):
    config, runner = run
    code = f"""
import sys, torch, numpy as np
from mmengine.runner.checkpoint import load_checkpoint
from mmengine.config import Config
from mmseg.apis import init_model, inference_model
model = init_model({str(Path(runner.work_dir) / 'student.py')!r}, None, device='cpu')
load_checkpoint(model, {str(Path(runner.work_dir) / 'best.pth')!r}, strict=True)
model = init_model(
    {str(Path(runner.work_dir) / 'student.py')!r},
    {str(Path(runner.work_dir) / 'best.pth')!r}, device='cpu')
image = np.random.default_rng(0).integers(0, 256, (192, 256, 3), dtype=np.uint8)
torch.save(inference_model(model, image).seg_logits.data, sys.argv[1])
assert len(model.dataset_meta['classes']) == 11
assert 'mmkd' not in sys.modules
"""
    out = Path(runner.work_dir) / 'logits.pt'
    # The interpreter starts outside the repository, as a stranger's would.
    env = {k: v for k, v in os.environ.items() if k != 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'}
    result = subprocess.run(
        [sys.executable, '-c', code, str(out)],
        check=True, cwd=runner.work_dir, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert 'Could not safely load' not in result.stdout

    image = np.random.default_rng(0).integers(0, 256, (192, 256, 3), dtype=np.uint8)
    saved = checkpoint_of(runner, 'best.pth')
    runner.model.load_state_dict(saved['state_dict'], strict=False)
    runner.model.eval()
    tensor = torch.from_numpy(image.transpose(2, 0, 1))
    sample = SegDataSample(metainfo=dict(ori_shape=(192, 256), img_shape=(192, 256)))
    with torch.no_grad():
        ours = runner.model.val_step(dict(inputs=[tensor], data_samples=[sample]))
    theirs = torch.load(out, weights_only=True)
    torch.testing.assert_close(ours[0].seg_logits.data, theirs, rtol=1e-4, atol=1e-4)


def test_training_teacher_score_is_logged_and_kept(run):
    config, runner = run
    score = checkpoint_of(runner)['meta']['teacher_score']
    assert 0 <= score['mIoU'] <= 100
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert log.count('teacher: ') == 1 and f'mIoU {score["mIoU"]:.4g}' in log
    # The number is the teacher's: its own network, validated on its own, agrees.
    evaluator = runner.val_loop.evaluator
    for batch in runner.val_dataloader:
        samples = runner.model.teacher.network.val_step(batch)
        evaluator.process(data_samples=samples, data_batch=batch)
    assert evaluator.evaluate(len(runner.val_dataloader.dataset))['mIoU'] == score['mIoU']


def test_training_teacher_is_validated_at_its_scale(run, monkeypatch):
    _, runner = run
    teacher, sizes = runner.model.teacher, []
    monkeypatch.setattr(teacher, 'inputs', TeacherInputs(None, None, scale=2.0))
    monkeypatch.delitem(runner.message_hub.runtime_info, 'teacher_score')
    note = teacher.network.backbone.register_forward_pre_hook(
        lambda _, images: sizes.append(images[0].shape[-2:])
    )
    ValidateTeacherHook().before_train(runner)
    note.remove()
    own = [2 * torch.tensor(batch['inputs'][0].shape[-2:]) for batch in runner.val_dataloader]
    assert [list(size) for size in sizes] == [size.tolist() for size in own]


def test_training_logged_losses_add_up(run):
    """All are means over the same iterations: what is left of the total is the student's own."""
    config, runner = run
    record = load_record(runner.work_dir)
    own = [sum(v for n, v in line.items() if re.match('student.*loss', n)) for line in record.train]
    assert [value for _, value in record.task_loss] == pytest.approx(own, rel=1e-4)
    assert len(own) == 4


def test_training_optimizer_holds_student_and_adapters_only(run):
    config, runner = run
    held = {id(p) for g in runner.optim_wrapper.param_groups for p in g['params']}
    assert held == {id(p) for p in runner.model.parameters()}
    assert not held & {id(p) for p in runner.model.teacher.network.parameters()}


@pytest.mark.parametrize('ema', [False, True])
def test_training_resume_equals_uninterrupted_run(run, tmp_path, ema):
    config, whole = run
    config = copy.deepcopy(config)
    # Dropout in the student, workers in the loader: all that could drift.
    config.merge_from_dict({'model.student.decode_head.dropout_ratio': 0.5})
    config.train_dataloader.num_workers = 1
    if ema:
        config.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    whole = train(config, tmp_path / 'whole')
    train(config, tmp_path / 'cut', train_cfg=dict(max_iters=2))
    resumed = train(config, tmp_path / 'cut', resume=True)
    assert resumed.iter == 4
    a, b = checkpoint_of(whole), checkpoint_of(resumed)
    assert same(a['state_dict'], b['state_dict'])
    assert same(a['distill'], b['distill'])
    assert same(whole.model.state_dict(), resumed.model.state_dict())
    if ema:
        assert same(a['ema_state_dict'], b['ema_state_dict'])
    start = checkpoint_of(whole, 'iter_2.pth')['state_dict']
    assert not same(start, a['state_dict'])


def test_training_average_is_of_the_student_only(run, tmp_path):
    config, _ = run
    config = copy.deepcopy(config)
    config.custom_hooks = [dict(type='EMAHook', momentum=0.5)]
    runner = train(config, tmp_path)
    saved = checkpoint_of(runner)
    student = runner.model.student.state_dict()
    assert saved['state_dict'].keys() == student.keys()
    weights = {f'module.{k}' for k in student}
    assert saved['ema_state_dict'].keys() == weights | {'steps'}
    # The file's state_dict is the average, the running weights sit beside it.
    key = 'backbone.learning_to_downsample.conv.conv.weight'
    assert torch.equal(saved['ema_state_dict'][f'module.{key}'], student[key])
    assert not torch.equal(saved['state_dict'][key], student[key])
    assert same(saved['distill'], dict(runner.model.distill.state_dict()))
    init_model(str(tmp_path / 'student.py'), str(tmp_path / 'best.pth'), device='cpu')


def test_training_gradient_share_resumes_and_is_logged(run, tmp_path):
    """Under gradient accumulation, with an averaged student."""
    config = copy.deepcopy(run[0])
    config.model.distill.encoder.weight = dict(type='gradient_share', share=0.2, every=3)
    config.optim_wrapper.accumulative_counts = 2
    config.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    whole = train(config, tmp_path / 'whole')
    train(config, tmp_path / 'cut', train_cfg=dict(max_iters=2))
    resumed = train(config, tmp_path / 'cut', resume=True)
    a, b = checkpoint_of(whole), checkpoint_of(resumed)
    assert same(a['state_dict'], b['state_dict']) and same(a['distill'], b['distill'])
    logged = [value for _, value in load_record(tmp_path / 'whole').values('weight.encoder')]
    assert logged[0] == logged[1] == logged[2] != logged[3]
    assert load_record(tmp_path / 'cut').values('weight.encoder')[2:] == [
        (3, logged[2]), (4, logged[3]),
    ]  # fmt: skip
    assert a['distill']['encoder.weight._extra_state'] == resumed.model.distill.encoder.weight.value
    assert resumed.model.distill.encoder.weight.value == pytest.approx(logged[3])


def test_training_gradient_accumulation_keeps_the_terms(run, tmp_path):
    config, _ = run
    runner = train(config, tmp_path, optim_wrapper=dict(accumulative_counts=2))
    assert runner.message_hub.get_scalar('train/distill.encoder').current() > 0


def test_training_of_fewer_images_than_a_batch_works(run, tmp_path):
    config = copy.deepcopy(run[0])
    config.train_dataloader.dataset.length = 1
    runner = train(config, tmp_path)
    assert runner.iter == 4


@pytest.mark.parametrize(
    'by_epoch, expected', [(False, [0, 0.25, 0.5, 0.75]), (True, [0, 0, 0.5, 0.5])]
)
def test_training_term_weights_follow_schedule_through_resume(run, tmp_path, by_epoch, expected):
    config, _ = run
    config = copy.deepcopy(config)
    config.train_dataloader.dataset.length = 4  # two batches an epoch
    end = 2 if by_epoch else 4
    schedule = dict(type='linear_warmup', begin=0, end=end, by_epoch=by_epoch)
    config.model.distill.encoder.update(schedule=schedule, weight=1.0)
    train(config, tmp_path, train_cfg=dict(max_iters=2))
    runner = train(config, tmp_path, resume=True)
    logged = runner.message_hub.get_scalar('train/weight.encoder').data[0]
    assert logged.tolist() == expected
