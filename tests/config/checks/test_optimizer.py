import pytest
from mmengine.config import Config

from mmkd.config.checks import optimizer
from mmkd.config.checks.optimizer import check_optimizer
from mmkd.errors import UserError


@pytest.mark.parametrize('value', [-0.1, float('nan'), float('inf')])
@pytest.mark.parametrize('key', ['lr', 'weight_decay'])
def test_check_optimizer_bad_number_is_rejected(key, value):
    config = Config(dict(optim_wrapper=dict(optimizer=dict(type='AdamW', **{key: value}))))
    with pytest.raises(UserError, match=rf'optim_wrapper.optimizer.{key}=.*: expected a finite'):
        check_optimizer(config)


@pytest.mark.parametrize('counts', [0, -2, 1.5, True, '2'])
def test_check_optimizer_bad_accumulative_counts_is_rejected(counts):
    with pytest.raises(UserError, match='accumulative_counts=.*: expected an integer'):
        check_optimizer(Config(dict(optim_wrapper=dict(accumulative_counts=counts))))


def test_check_optimizer_clip_grad_that_is_a_number_is_rejected(recipe):
    recipe.optim_wrapper.clip_grad = 1
    with pytest.raises(UserError, match='optim_wrapper.clip_grad=1: expected a dict'):
        check_optimizer(recipe)


@pytest.mark.parametrize(
    'kind, device, other, expected',
    [
        ('AmpOptimWrapper', 'cuda', 'cpu', "'mmkd.CpuAmpOptimWrapper' on 'cpu'; set that$"),
        ('AmpOptimWrapper', 'npu', 'mps', "'OptimWrapper' on 'mps'; set that and leave out --amp$"),
        ('mmkd.CpuAmpOptimWrapper', 'cpu', 'cuda', "'AmpOptimWrapper' on 'cuda'; set that$"),
        ('mmkd.CpuAmpOptimWrapper', 'cpu', 'mps', "'OptimWrapper' on 'mps'; set that and"),
    ],
)
def test_check_optimizer_mixed_precision_is_for_some_devices(
    monkeypatch, kind, device, other, expected
):
    config = Config(dict(optim_wrapper=dict(type=kind, optimizer=dict(type='SGD'))))
    monkeypatch.setattr(optimizer, 'get_device', lambda: device)
    check_optimizer(config)
    monkeypatch.setattr(optimizer, 'get_device', lambda: other)
    with pytest.raises(
        UserError, match=f'optim_wrapper.type={kind.split(".")[-1]}: expected {expected}'
    ):
        check_optimizer(config)


@pytest.mark.parametrize('device', ['cpu', 'cuda', 'mps', 'xpu'])
def test_check_optimizer_without_mixed_precision_is_accepted_everywhere(monkeypatch, device):
    monkeypatch.setattr(optimizer, 'get_device', lambda: device)
    check_optimizer(Config(dict(optim_wrapper=dict(type='OptimWrapper'))))
