import pytest
import torch
from mmengine.config import Config

from mmkd.datasets.camvid_classes import CLASSES
from mmkd.engine.hooks.class_count_hook import check_class_count
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


def test_features_of_a_teacher_of_other_classes_may_be_compared(of_five_classes):
    distiller = MODELS.build(of_five_classes)
    assert check_class_count(distiller, CLASSES) is None  # it raises otherwise
    assert distiller.teacher.network.decode_head.num_classes == 5 != len(CLASSES)


def test_a_teacher_of_other_classes_has_no_loss_of_these_labels(of_five_classes):
    tap = 'input_gradient'
    loss = dict(type='GradientATLoss')
    of_five_classes.distill = dict(gradient=dict(student=tap, teacher=tap, loss=loss))
    distiller = MODELS.build(of_five_classes)
    message = r'model.teacher.decode_head.num_classes=5, but the data set has 11 classes'
    with pytest.raises(UserError, match=message):
        check_class_count(distiller, CLASSES)


def test_every_head_of_a_student_is_counted(distiller):
    check_class_count(distiller, CLASSES)
    message = r'model.student.auxiliary_head.0.num_classes=11, but the data set has 2 classes'
    distiller.student.decode_head.num_classes = 2
    with pytest.raises(UserError, match=message):
        check_class_count(distiller, CLASSES[:2])
