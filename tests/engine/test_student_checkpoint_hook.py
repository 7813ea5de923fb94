"""What StudentCheckpointHook says of a checkpoint that a run resumes from."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmkd.engine.distill_runner import DistillRunner
from mmkd.engine.hooks import StudentCheckpointHook
from mmkd.errors import UserError
from mmkd.registry import MODELS


class Log(list):
    warning = list.append


def training(distiller) -> SimpleNamespace:
    teacher = dict(checkpoint='other.pth')
    return SimpleNamespace(
        model=distiller,
        cfg=Config(dict(resume=True, model=dict(teacher=teacher))),
        work_dir='work_dirs/run',
        logger=Log(),
        message_hub=SimpleNamespace(runtime_info={}),
    )


def checkpoint_of(distiller) -> dict:
    checkpoint = dict(state_dict=dict(distiller.state_dict()), meta={})
    StudentCheckpointHook().before_save_checkpoint(training(distiller), checkpoint)
    return checkpoint


@pytest.mark.parametrize('strict', [True, False])
def test_strict_average_of_weights_is_refused_before_training(recipe, tmp_path, strict):
    recipe.custom_hooks = [dict(type='EMAHook', strict_load=strict)]
    recipe.work_dir = str(tmp_path)
    runner = DistillRunner.from_cfg(recipe)
    if strict:
        with pytest.raises(UserError, match='EMAHook.strict_load=True: expected False'):
            StudentCheckpointHook().before_train(runner)
    else:
        StudentCheckpointHook().before_train(runner)


@pytest.mark.parametrize('part', ['.weight', '.running_var'])
def test_resume_with_another_teacher_file_warns(distiller, part):
    checkpoint, same, other = checkpoint_of(distiller), training(distiller), training(distiller)
    StudentCheckpointHook().after_load_checkpoint(same, copy.deepcopy(checkpoint))
    assert same.logger == []
    values = distiller.teacher.network.state_dict()
    with torch.no_grad():  # one number of one tensor differs
        value = next(v for name, v in values.items() if name.endswith(part))
        value[(0,) * value.ndim] += 1
    StudentCheckpointHook().after_load_checkpoint(other, copy.deepcopy(checkpoint))
    (line,) = other.logger
    assert line.startswith('--resume: model.teacher: other.pth holds other weights than')


def test_start_from_a_checkpoint_of_another_teacher_does_not_warn(distiller):
    checkpoint, runner = checkpoint_of(distiller), training(distiller)
    checkpoint['meta']['teacher'] = 'another'
    runner.cfg.resume = False
    StudentCheckpointHook().after_load_checkpoint(runner, checkpoint)
    assert runner.logger == []


@pytest.mark.parametrize('resume', [True, False])
def test_weight_of_a_gradient_share_is_measured_anew_unless_resumed(model_config, resume):
    """Another training has another share, or other losses."""
    model_config.distill.encoder.update(
        weight=dict(type='gradient_share', share=0.2), adapter=dict(type='Conv2d', kernel_size=1)
    )
    before, after = (MODELS.build(model_config) for _ in range(2))
    before.distill.encoder.weight.value = 7.0
    before.distill.encoder.adapter[0].bias.data.fill_(3.0)
    checkpoint, runner = checkpoint_of(before), training(after)
    runner.cfg.resume = resume
    StudentCheckpointHook().after_load_checkpoint(runner, checkpoint)
    after.load_state_dict(checkpoint['state_dict'], strict=resume)
    assert after.distill.encoder.weight.value == (7.0 if resume else 0.0)
    assert after.distill.encoder.adapter[0].bias.eq(3.0).all()
