import copy
import math
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from mmkd.engine.hooks import FiniteGradientHook
from mmkd.errors import UserError
from mmkd.registry import MODELS


@pytest.fixture
def poisoned(recipe):
    """The recipe with a term that is NaN at the second of its four iterations, or as told."""

    def make(factor=math.nan, at=1, **hook):
        class Poison(nn.Module):
            calls = -1  # the first is the Distiller's dry run

            def forward(self, student, teacher):
                self.calls += 1
                value = (student - teacher.mean()).square().mean()
                return value * (factor if self.calls - 1 == at else 1.0)

        config = copy.deepcopy(recipe)
        config.model.distill = dict(
            bad=dict(student='backbone[1]', teacher='backbone[3]', loss=dict(type='mmkd.Poison'))
        )
        config.default_hooks.finite_gradient = dict(type='mmkd.FiniteGradientHook', **hook)
        MODELS.register_module(name='Poison', module=Poison, force=True)
        return config

    yield make
    MODELS.module_dict.pop('Poison')


@pytest.mark.parametrize('factor', [math.nan, math.inf, -math.inf])
def test_finite_gradient_hook_stop_names_term_and_taps(poisoned, factor, tmp_path):
    runner = Runner.from_cfg(poisoned(factor))
    with pytest.raises(UserError) as error:
        runner.train()
    message = str(error.value)
    assert message.startswith('iteration 1: gradients are not finite; model.distill.bad is ')
    assert 'student backbone[1] (2, 128, 6, 8) from ' in message
    assert 'teacher backbone[3] (2, 64, 6, 8) from ' in message
    assert all(p.isfinite().all() for p in runner.model.student.parameters())
    assert not list(Path(runner.work_dir).glob('*.pth'))


def test_finite_gradient_hook_accumulation_remembers_the_cause(poisoned):
    config = poisoned(at=2)
    config.optim_wrapper.accumulative_counts = 2
    with pytest.raises(UserError, match='iteration 3: .* not finite; model.distill.bad is nan'):
        Runner.from_cfg(config).train()


def test_finite_gradient_hook_next_step_forgets_the_cause(poisoned):
    config = poisoned(action='skip')
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.model.nonfinite_terms() == {}


def test_finite_gradient_hook_skip_keeps_weights_and_moments(poisoned, caplog):
    config = poisoned(action='skip')
    config.train_cfg.val_interval = 100
    seen = []

    class Watch(FiniteGradientHook):
        def before_train(self, runner):
            super().before_train(runner)
            self.runner = runner

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            optimizer = runner.optim_wrapper.optimizer
            parameter = next(runner.model.student.parameters())
            steps = optimizer.state.get(parameter, {}).get('step')
            seen.append((parameter.detach().clone(), float(steps)))

    runner = Runner.from_cfg(config)
    runner.register_hook(Watch('skip'))
    runner.train()
    (w0, s0), (w1, s1), (w2, s2), _ = seen
    assert torch.equal(w0, w1) and not torch.equal(w1, w2)
    assert (s0, s1, s2) == (1, 1, 2)
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert 'iteration 1: gradients are not finite; model.distill.bad is nan' in log
    assert log.count('the step is skipped') >= 1


def test_finite_gradient_hook_nonfinite_weights_are_not_saved(recipe):
    runner = Runner.from_cfg(recipe)
    runner.train()
    kept = {p.name: p.read_bytes() for p in Path(runner.work_dir).glob('*.pth')}
    runner.model.student.backbone.get_submodule('learning_to_downsample.conv.bn').running_var[0] = (
        math.inf
    )
    with pytest.raises(UserError, match=r'conv\.bn\.running_var is not finite; no checkpoint'):
        runner.save_checkpoint(runner.work_dir, 'iter_4.pth', by_epoch=False)
    assert {p.name: p.read_bytes() for p in Path(runner.work_dir).glob('*.pth')} == kept


def test_finite_gradient_hook_accepts_huge_gradients(poisoned):
    runner = Runner.from_cfg(poisoned(factor=1e25))
    runner.train()
    assert runner.iter == 4


def test_finite_gradient_hook_bad_action_raises_user_error():
    with pytest.raises(UserError, match="action='warn': expected one of stop, skip"):
        FiniteGradientHook(action='warn')


def test_finite_gradient_hook_ignores_steps_dropped_by_scaler(recipe):
    """The scaler still calls a fused optimiser, and tells it to skip the step."""
    recipe.optim_wrapper.optimizer.fused = True
    runner = Runner.from_cfg(recipe)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    hook = FiniteGradientHook()
    hook.before_train(runner)
    optimizer = runner.optim_wrapper.optimizer
    scaler = torch.amp.GradScaler('cpu')
    parameter = next(runner.model.student.parameters())
    before = parameter.clone()
    scaler.scale(parameter.sum() * math.inf).backward()
    scaler.step(optimizer)
    assert torch.equal(parameter, before)
    with pytest.raises(UserError, match='gradients are not finite'):
        optimizer.step()
