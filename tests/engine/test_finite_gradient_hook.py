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
def test_stop_names_the_term_and_what_it_compared(poisoned, factor, tmp_path):
    runner = Runner.from_cfg(poisoned(factor))
    with pytest.raises(UserError) as error:
        runner.train()
    message = str(error.value)
    assert message.startswith('iteration 1: gradients are not finite; model.distill.bad is ')
    assert 'student backbone[1] (2, 128, 6, 8) from ' in message
    assert 'teacher backbone[3] (2, 64, 6, 8) from ' in message
    assert all(p.isfinite().all() for p in runner.model.student.parameters())
    assert not list(Path(runner.work_dir).glob('*.pth'))


def test_the_cause_is_remembered_while_gradients_are_accumulated(poisoned):
    config = poisoned(at=2)
    config.optim_wrapper.accumulative_counts = 2
    with pytest.raises(UserError, match='iteration 3: .* not finite; model.distill.bad is nan'):
        Runner.from_cfg(config).train()


def test_a_cause_is_forgotten_with_its_step(poisoned):
    config = poisoned(action='skip')
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.model.not_finite == {}


def test_skip_leaves_weights_and_moments_and_goes_on(poisoned, caplog):
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


def test_weights_that_are_not_finite_are_never_saved(recipe):
    runner = Runner.from_cfg(recipe)
    runner.train()
    kept = {p.name: p.read_bytes() for p in Path(runner.work_dir).glob('*.pth')}
    runner.model.student.backbone.get_submodule('learning_to_downsample.conv.bn').running_var[0] = (
        math.inf
    )
    with pytest.raises(UserError, match=r'conv\.bn\.running_var is not finite; no checkpoint'):
        runner.save_checkpoint(runner.work_dir, 'iter_4.pth', by_epoch=False)
    assert {p.name: p.read_bytes() for p in Path(runner.work_dir).glob('*.pth')} == kept


def test_a_gradient_may_be_huge(poisoned):
    runner = Runner.from_cfg(poisoned(factor=1e25))
    runner.train()
    assert runner.iter == 4


def test_action_is_checked():
    with pytest.raises(UserError, match="action='warn'; allowed: stop, skip"):
        FiniteGradientHook(action='warn')


def test_a_step_that_a_gradient_scaler_drops_does_not_count(recipe):
    """A fused optimiser is asked for the step all the same, with a word that it is none."""
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
