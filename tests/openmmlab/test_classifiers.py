"""Classifiers of MMPretrain, from the first batch to the exported file."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from torch.nn import functional

import mmkd
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.distillation.teacher_inputs import TeacherInputs
from mmkd.engine.distill_runner import DistillRunner
from mmkd.errors import UserError
from mmkd.experiments.plan import runs_in
from mmkd.experiments.report.pictures import draw_scenes
from mmkd.ops.gradient import input_gradient
from mmkd.registry import DATASETS, MODELS

mmpretrain = pytest.importorskip('mmpretrain', reason='needs the extra classification')
pytest.importorskip('sklearn', reason='needs the extra classification')

ROOT = Path(__file__).resolve().parents[2]
AT = 'configs/resnet18_resnet18tiny_at_digits.py'
GRADIENT = 'configs/resnet18_resnet18tiny_gradient_at_digits.py'
RECIPE = """
_base_ = '{root}/{recipe}'
train_cfg = dict(max_iters=4, val_interval=2)
val_dataloader = dict(dataset=dict(indices=40))
test_dataloader = dict(dataset=dict(indices=40))
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
model = dict(teacher=dict(checkpoint='{checkpoint}'))
"""


@pytest.fixture(autouse=True)
def _mmpretrain_scope():
    init_default_scope('mmpretrain')


@pytest.fixture(scope='module')
def recipe(tmp_path_factory, random_checkpoints) -> Path:
    path = tmp_path_factory.mktemp('classifier') / 'recipe.py'
    checkpoint = random_checkpoints('configs/teachers/resnet18_digits.py')
    path.write_text(RECIPE.format(root=ROOT, recipe=AT, checkpoint=checkpoint))
    return path


@pytest.fixture(scope='module')
def work_dir(recipe) -> Path:
    """The work dir of a distillation of four iterations."""
    init_default_scope('mmpretrain')
    config = load_config(str(recipe))
    config.work_dir = str(recipe.parent / 'work')
    DistillRunner.from_cfg(config).train()
    return recipe.parent / 'work'


def build(recipe: str, random_checkpoints) -> torch.nn.Module:
    """The Distiller of a recipe, built without data, between random networks."""
    config = load_config(recipe)
    config.model.teacher.checkpoint = random_checkpoints(config.model.teacher.config)
    for term in config.model.distill.values():
        term.pop('schedule', None)
    torch.manual_seed(0)
    return MODELS.build(config.model).train()


def batch(distiller, count: int = 6) -> tuple[torch.Tensor, list]:
    config = load_config(AT)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    items = [dataset[i] for i in range(count)]
    data = {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}
    ready = distiller.data_preprocessor(data, training=True)
    return ready['inputs'], ready['data_samples']


def test_distiller_of_classifiers_adds_attention_and_hintons_logits_to_the_task(random_checkpoints):
    distiller = build(AT, random_checkpoints)
    inputs, samples = batch(distiller)
    losses = distiller.loss(inputs, samples)
    student = distiller.student(inputs, mode='tensor')
    images, _ = distiller.teacher.inputs(inputs, samples)
    teacher = distiller.teacher.network(images, mode='tensor')
    labels = torch.cat([sample.gt_label for sample in samples])
    torch.testing.assert_close(losses['student.loss'], functional.cross_entropy(student, labels))
    expected = functional.kl_div(
        functional.log_softmax(student / 4, 1), functional.softmax(teacher / 4, 1),
        reduction='batchmean',
    )  # fmt: skip
    torch.testing.assert_close(losses['distill.logits'], 16 * expected)
    assert losses['distill.attention'] > 0
    total, _ = distiller.parse_losses(losses)
    torch.testing.assert_close(total, sum(losses.values()))


def test_gradient_term_of_classifiers_compares_the_gradients_of_both_losses(random_checkpoints):
    distiller = build(GRADIENT, random_checkpoints)
    inputs, samples = batch(distiller)
    losses = distiller.loss(inputs, samples)
    gradients = []
    for network in (distiller.student, distiller.teacher.network):
        images = inputs.clone().requires_grad_()
        gradients.append(input_gradient(network(images, samples, mode='loss')['loss'], images))
    distance = (gradients[0] - gradients[1]).flatten(1).norm(dim=1).mean()
    torch.testing.assert_close(losses['distill.gradient'], 0.1 * distance / 2)
    losses['distill.gradient'].backward()
    weight = distiller.student.backbone.conv1.weight
    assert torch.isfinite(weight.grad).all() and weight.grad.abs().sum() > 0


def test_teacher_inputs_of_a_classifier_are_what_its_own_preprocessor_makes():
    student = dict(type='ClsDataPreprocessor', mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0])
    teacher = dict(student, mean=[5.0, 6.0, 7.0], to_rgb=True)
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    ready, wanted = (
        MODELS.build(config)(dict(inputs=images))['inputs'] for config in (student, teacher)
    )
    found, _ = TeacherInputs(student, teacher)(ready, None)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


def test_best_checkpoint_of_a_classifier_opens_in_mmpretrain(work_dir):
    saved = load_checkpoint_file(str(work_dir / 'best.pth'))
    network = MODELS.build(model_config(load_config(AT)))
    assert saved['state_dict'].keys() == network.state_dict().keys()
    config = Config.fromfile(work_dir / 'student.py')
    assert 'mmkd' not in str(config.get('custom_imports')) and config.model.type != 'mmkd.Distiller'
    opened = mmpretrain.get_model(config, str(work_dir / 'best.pth'))
    for name, value in opened.state_dict().items():
        assert torch.equal(value, saved['state_dict'][name])


def test_load_student_of_a_classifier_predicts_as_its_network(work_dir):
    inferencer = mmkd.load_student(work_dir, device='cpu')
    dataset = DATASETS.build(load_config(AT).val_dataloader.dataset)
    for i in range(3):
        item = dataset[i]
        one = dict(inputs=[item['inputs']], data_samples=[item['data_samples'].clone()])
        with torch.no_grad():
            own = inferencer.model.test_step(one)[0]
        image = item['inputs'].numpy().transpose(1, 2, 0)
        (found,) = inferencer(image)
        assert found['pred_label'] == own.pred_label.item()
        np.testing.assert_allclose(found['pred_scores'], own.pred_score, rtol=1e-5)
        assert found['pred_class'] == str(found['pred_label'])


def run_tool(monkeypatch, capfd, tool: str, *words: object) -> str:
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, words)])
    try:
        runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
    except SystemExit as stop:
        assert not stop.code, capfd.readouterr().err
    return capfd.readouterr().out


def test_export_of_a_classifier_scores_as_pytorch_and_names_a_digit(
    recipe, work_dir, monkeypatch, capfd, tmp_path
):
    out = tmp_path / 'student.onnx'
    words = [recipe, work_dir / 'best.pth', '--out', out, '--preprocess', '--evaluate']
    said = run_tool(monkeypatch, capfd, 'deploy/export', *words)
    scores = [line.split()[-1] for line in said.splitlines() if ': accuracy/top1 ' in line]
    assert len(scores) == 2 and scores[0] == scores[1]
    digit = DATASETS.build(load_config(AT).val_dataloader.dataset)[0]['inputs'].numpy()[0]
    cv2.imwrite(str(tmp_path / 'digit.png'), digit)
    run_tool(
        monkeypatch, capfd, 'deploy/infer', out, tmp_path / 'digit.png', '--out', tmp_path / 'o'
    )
    drawn = cv2.imread(str(tmp_path / 'o/digit.png'))
    assert drawn.shape == (24 + 160, 160, 3)
    assert (drawn[24::20, ::20, 0] == digit).all() and drawn[:24].min() < 100


def test_check_of_a_classifier_gives_its_score_in_per_cent(recipe, monkeypatch, capfd):
    said = run_tool(monkeypatch, capfd, 'check', recipe, '--images', '10')
    assert 'Teacher: accuracy/top1 ' in said
    score = float(said.split('Teacher: accuracy/top1 ')[1].split()[0])
    assert 0 <= score <= 100 and score % 10 == 0  # of ten images
    assert 'backbone.layer3: stride 2, 16 channels, 4x4' in said
    assert 'Term logits' in said


def test_report_of_a_classifier_draws_images_under_their_class(work_dir):
    (run,) = runs_in(work_dir)
    assert run.metric == 'accuracy/top1'
    (scene,) = draw_scenes(dict(student=run), 1)
    assert scene.input.shape == (8, 8, 3)
    for picture in (scene.truth, scene.predictions['student']):
        assert picture.shape == (24 + 120, 120, 3)
        assert (picture[24::15, ::15] == scene.input).all()


def test_classifier_of_other_classes_raises_user_error(recipe):
    config = load_config(str(recipe))
    config.model.student.head.num_classes = 3
    config.work_dir = str(recipe.parent / 'three')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        with pytest.raises(UserError, match='LogitKDLoss: 3 student and 10 teacher'):
            DistillRunner.from_cfg(config)
