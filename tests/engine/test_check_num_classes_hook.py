import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmkd.datasets.camvid_classes import CLASSES
from mmkd.engine.hooks.check_num_classes_hook import check_num_classes
from mmkd.errors import UserError
from mmkd.registry import MODELS


@pytest.fixture
def of_five_classes(model_config, teacher_files, tmp_path):
    """The recipe's model with a teacher of five classes."""
    config = tmp_path / 'five.py'
    config.write_text(
        f"_base_ = '{teacher_files[0]}'\nmodel = dict(decode_head=dict(num_classes=5))\n"
    )
    weights = MODELS.build(Config.fromfile(config).model).state_dict()
    torch.save(weights, tmp_path / 'five.pth')
    model_config.teacher = dict(config=str(config), checkpoint=str(tmp_path / 'five.pth'))
    return model_config


def test_check_num_classes_hook_features_of_other_classes_are_accepted(of_five_classes):
    distiller = MODELS.build(of_five_classes)
    assert check_num_classes(distiller, CLASSES) is None  # it raises otherwise
    assert distiller.teacher.network.decode_head.num_classes == 5 != len(CLASSES)


def test_check_num_classes_hook_input_gradient_of_other_classes_is_rejected(of_five_classes):
    tap = 'input_gradient'
    loss = dict(type='GradientATLoss')
    of_five_classes.distill = dict(gradient=dict(student=tap, teacher=tap, loss=loss))
    distiller = MODELS.build(of_five_classes)
    message = r'model.teacher.decode_head.num_classes=5: expected 11, the classes'
    with pytest.raises(UserError, match=message):
        check_num_classes(distiller, CLASSES)


@pytest.mark.parametrize('loss', ['LogitKDLoss', 'CWDLoss', 'FeatureMSELoss', 'PKDLoss'])
def test_check_num_classes_hook_scores_of_classes_in_another_order_are_rejected(model_config, loss):
    head = dict(student='decode_head', teacher='decode_head', loss=dict(type=loss))
    model_config.distill = dict(logits=head)
    distiller = MODELS.build(model_config)
    assert list(distiller.teacher.classes) == list(CLASSES)
    check_num_classes(distiller, CLASSES)
    check_num_classes(distiller, [f'part {i}' for i in range(11)])  # other names tell nothing
    message = 'model.distill.logits: expected a teacher of the classes of the dataset in their'
    with pytest.raises(UserError, match=message):
        check_num_classes(distiller, CLASSES[::-1])
    model_config.distill.logits.classes = dict(student=CLASSES[::-1])
    check_num_classes(MODELS.build(model_config), CLASSES[::-1])


def test_check_num_classes_hook_features_of_classes_in_another_order_are_accepted(model_config):
    """An attention map sums over the channels; an adapter maps one order to the other."""
    head = dict(student='decode_head', teacher='decode_head')
    adapter = dict(type='Conv2d', kernel_size=1)
    model_config.distill = dict(
        attention=dict(head, loss=dict(type='ActivationATLoss')),
        adapted=dict(head, loss=dict(type='PKDLoss'), adapter=adapter),
    )
    distiller = MODELS.build(model_config)
    assert check_num_classes(distiller, CLASSES[::-1]) is None  # it raises otherwise
    assert list(distiller.teacher.classes) == list(CLASSES)


def test_check_num_classes_hook_checks_every_head_of_student(distiller):
    check_num_classes(distiller, CLASSES)
    message = r'model.student.auxiliary_head.0.num_classes=11: expected 2, the classes'
    distiller.student.decode_head.num_classes = 2
    with pytest.raises(UserError, match=message):
        check_num_classes(distiller, CLASSES[:2])


@pytest.mark.slow
def test_check_num_classes_hook_checks_validation_of_a_run(recipe):
    recipe.val_dataloader.dataset.metainfo = dict(classes=CLASSES[::-1])
    runner = Runner.from_cfg(recipe)
    with pytest.raises(UserError, match='val_dataloader.dataset.metainfo.classes='):
        runner.train()
