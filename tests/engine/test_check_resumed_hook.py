import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, PolyLR
from torch import nn

from mmkd.engine.hooks import CheckResumedHook
from mmkd.errors import UserError


class Log(list):
    warning = list.append


def training(optimizer=torch.optim.SGD, layers=1, max_iters=10, resume=True, power=0.9, **options):
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(layers)))
    wrapper = OptimWrapper(optimizer(network.parameters(), **dict(dict(lr=0.1), **options)))
    schedule = PolyLR(wrapper, power=power, begin=0, end=max_iters, by_epoch=False)
    config = Config(dict(resume=resume, train_cfg=dict(max_iters=max_iters)))
    return SimpleNamespace(
        cfg=config, optim_wrapper=wrapper, param_schedulers=[schedule], logger=Log()
    )


def checkpoint_of(runner) -> dict:
    for _ in range(3):
        runner.optim_wrapper.optimizer.step()
        runner.param_schedulers[0].step()
    return copy.deepcopy(
        dict(
            optimizer=runner.optim_wrapper.state_dict(),
            param_schedulers=[schedule.state_dict() for schedule in runner.param_schedulers],
            message_hub=dict(runtime_info=dict(max_iters=runner.cfg.train_cfg.max_iters)),
        )
    )


def said(before: dict, now: dict) -> list[str]:
    runner = training(**now)
    CheckResumedHook().after_load_checkpoint(runner, checkpoint_of(training(**before)))
    return runner.logger


def test_check_resumed_hook_same_config_is_silent():
    assert said(dict(momentum=0.9), dict(momentum=0.9)) == []
    assert said(dict(lr=0.1), dict(lr=0.3, resume=False)) == []


@pytest.mark.parametrize(
    'change, key, now, before',
    [
        (dict(lr=0.025), 'optim_wrapper.optimizer.lr', '0.025', '0.1'),
        (dict(momentum=0.5), 'optim_wrapper.optimizer.momentum', '0.5', '0'),
        (dict(weight_decay=0.01), 'optim_wrapper.optimizer.weight_decay', '0.01', '0'),
        (dict(power=2.0), 'param_scheduler.0.power', '2.0', '0.9'),
    ],
)
def test_check_resumed_hook_changed_key_is_logged_with_both_values(change, key, now, before):
    (line,) = said({}, change)
    assert line.startswith(f'--resume: {key}={now} has no effect: ')
    assert f'goes on with {before}, as in the checkpoint' in line


def test_check_resumed_hook_longer_training_is_logged_with_schedule():
    lines = said({}, dict(max_iters=20))
    assert any('param_scheduler.0.end=20 has no effect' in line for line in lines)
    assert any('train_cfg.max_iters=20: the training ends there, not at 10' in x for x in lines)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(optimizer=torch.optim.AdamW), 'optim_wrapper.optimizer.type: expected the type'),
        (dict(layers=2), 'expected 1 groups of as many parameters'),
    ],
)
def test_check_resumed_hook_other_optimizer_raises_user_error(change, message):
    with pytest.raises(UserError, match=message):
        said({}, change)
