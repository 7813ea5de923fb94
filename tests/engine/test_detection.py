"""Real runs of a small detector's distillation, a few iterations long."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.runner import Runner

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.distillation.teacher_inputs import TeacherInputs
from mmkd.errors import UserError
from mmkd.openmmlab.operators.install import uses_mmkd_operators


def train(config, work_dir, **changes) -> Runner:
    config = copy.deepcopy(config)
    config.work_dir = str(work_dir)
    config.merge_from_dict(changes)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def run(tmp_path_factory, detection_files) -> Runner:
    config = Config.fromfile(detection_files['recipe'])
    return train(config, tmp_path_factory.mktemp('run'))


def saved(runner, name: str) -> dict:
    return load_checkpoint_file(str(Path(runner.work_dir) / name))


def test_detection_checkpoint_is_the_student(run):
    checkpoint = saved(run, 'iter_4.pth')
    student = run.model.student.state_dict()
    assert checkpoint['state_dict'].keys() == student.keys()
    assert all(torch.equal(checkpoint['state_dict'][key], student[key]) for key in student)
    assert set(checkpoint['distill']) == {'level.adapter.0.weight', 'level.adapter.0.bias'}


def test_detection_best_checkpoint_is_by_coco_map(run):
    (named,) = Path(run.work_dir).glob('best_coco_bbox_mAP*.pth')
    assert named.read_bytes() == (Path(run.work_dir) / 'best.pth').read_bytes()


def test_detection_teacher_score_equals_its_own_test(run):
    score = saved(run, 'iter_4.pth')['meta']['teacher_score']
    evaluator = run.val_loop.evaluator
    for batch in run.val_dataloader:
        samples = run.model.teacher.network.val_step(batch)
        evaluator.process(data_samples=samples, data_batch=batch)
    assert evaluator.evaluate(len(run.val_dataloader.dataset)) == score
    assert 0 < score['pascal_voc/mAP'] < 1


# MMSegmentation can do without operators (tests/engine/test_training.py). MMDetection cannot.
@pytest.mark.skipif(
    uses_mmkd_operators(), reason="mmcv has no operators without mmkd; see 'make test-operators'"
)
def test_detection_student_opens_in_mmdet_without_mmkd(run):
    folder = Path(run.work_dir)
    code = """
import sys, torch, numpy as np
from mmengine.config import Config
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.runner.checkpoint import load_checkpoint
register_all_modules()
config = Config.fromfile('student.py')
model = MODELS.build(config.model).eval()
load_checkpoint(model, 'best.pth', strict=True)
image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
x = torch.from_numpy(image.transpose(2, 0, 1)).float()[None]
with torch.no_grad():
    scores, boxes = model(x, mode='tensor')
torch.save([*scores, *boxes], 'outputs.pt')
assert 'mmkd' not in sys.modules
"""
    env = {k: v for k, v in os.environ.items() if k != 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'}
    subprocess.run([sys.executable, '-c', code], check=True, cwd=folder, env=env)
    theirs = torch.load(folder / 'outputs.pt', weights_only=True)

    student = copy.deepcopy(run.model.student).eval()
    student.load_state_dict(saved(run, 'best.pth')['state_dict'])
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    image = torch.from_numpy(image.transpose(2, 0, 1))
    with torch.no_grad():
        scores, boxes = student(image.float()[None], mode='tensor')
    assert all(torch.equal(a, b) for a, b in zip(theirs, [*scores, *boxes], strict=True))


def test_detection_resume_equals_uninterrupted_run(run, tmp_path, detection_files):
    config = Config.fromfile(detection_files['recipe'])
    train(config, tmp_path, train_cfg=dict(max_iters=2))
    resumed = train(config, tmp_path, resume=True)
    ours, theirs = resumed.model.state_dict(), run.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert resumed.message_hub.get_scalar('train/distill.level').current() > 0


def test_detection_wrong_class_count_raises_user_error(tmp_path, detection_files):
    config = Config.fromfile(detection_files['recipe'])
    config.model.student.bbox_head.num_classes = 7
    config.model.distill.pop('scores')
    with pytest.raises(UserError, match='model.student.bbox_head.num_classes=7: expected 4'):
        train(config, tmp_path)


def test_detection_images_without_boxes_train(run):
    model = copy.deepcopy(run.model).train()
    batch = next(iter(run.train_dataloader))
    empty = [sample.clone() for sample in batch['data_samples']]
    for sample in empty:
        sample.gt_instances = sample.gt_instances[:0]
    data = model.data_preprocessor(dict(inputs=batch['inputs'], data_samples=empty), True)
    total, log = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    assert total.isfinite() and log['distill.level'] > 0
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_detection_teacher_padding_equals_its_own_preprocessor(run):
    """A batch of two sizes: the teacher sees what its own preprocessor would have made."""
    student = dict(
        type='DetDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, bgr_to_rgb=True,
        pad_size_divisor=32,
    )  # fmt: skip
    teacher = dict(run.cfg.model.student.data_preprocessor)
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in [(40, 64), (64, 50)]]

    def preprocess(config):
        samples = [DetDataSample(metainfo=dict(img_shape=i.shape[-2:])) for i in images]
        own = {key: value for key, value in config.items() if key != 'type'}
        return DetDataPreprocessor(**own)(dict(inputs=list(images), data_samples=samples), True)

    batch = preprocess(student)
    ours, _ = TeacherInputs(student, teacher)(batch['inputs'], batch['data_samples'])
    torch.testing.assert_close(ours, preprocess(teacher)['inputs'], rtol=1e-4, atol=1e-4)


def test_detection_yolox_hook_switches_the_student(tmp_path, detection_files):
    """MMDetection's hook does so in the last epochs, after most of a training."""
    config = Config.fromfile(detection_files['recipe'])
    loader = config.train_dataloader
    loader.dataset.length = 2
    loader.dataset = dict(type='MultiImageMixDataset', dataset=loader.dataset, pipeline=[])
    loader.sampler = dict(type='DefaultSampler')
    config.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.custom_hooks = [dict(type='YOLOXModeSwitchHook', num_last_epochs=1)]
    assert train(config, tmp_path).model.student.bbox_head.use_l1
