"""How processes that train on a CPU wrap their network."""

import pytest
import torch
from mmengine.config import Config

from mmkd.engine import launch


@pytest.mark.parametrize(
    'config, expected',
    [
        ({}, dict(type='MMDistributedDataParallel', find_unused_parameters=False)),
        (
            dict(find_unused_parameters=True),
            dict(type='MMDistributedDataParallel', find_unused_parameters=True),
        ),
        (
            dict(model_wrapper_cfg=dict(type='Own', static_graph=True, device_ids=[0])),
            dict(type='Own', static_graph=True),
        ),
    ],
)
def test_set_launcher_on_a_cpu_keeps_the_configs_wrapper(monkeypatch, config, expected):
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(launch, 'is_distributed', lambda: True)  # the group exists already
    config = Config(config)
    launch.set_launcher(config, 'pytorch')
    assert config.model_wrapper_cfg == expected | dict(device_ids=None, broadcast_buffers=False)
