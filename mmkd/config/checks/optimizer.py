"""Check the optimizer of a config."""

import math
from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.device import get_device

from mmkd.config.types import type_name
from mmkd.errors import UserError

# By MMEngine's name of the device. On others AmpOptimWrapper ends in an assertion.
_MIXED_PRECISION = dict(
    cpu='mmkd.CpuAmpOptimWrapper',
    cuda='AmpOptimWrapper',
    npu='AmpOptimWrapper',
    mlu='AmpOptimWrapper',
    musa='AmpOptimWrapper',
)


def check_optimizer(config: Config) -> None:
    """Check the numbers of ``optim_wrapper`` that would end a training, or spoil it, in its step.

    Raises:
        UserError: a learning rate is negative or not finite, ``accumulative_counts`` is not a
            number of batches, ``clip_grad`` is not a dict, or ``type`` is mixed precision for
            another kind of device.
    """
    wrapper = config.get('optim_wrapper') or {}
    kind, device = type_name(wrapper.get('type')), get_device()
    expected = _MIXED_PRECISION.get(device, 'OptimWrapper')
    if kind in ('AmpOptimWrapper', 'CpuAmpOptimWrapper') and kind != expected.split('.')[-1]:
        flag = '' if device in _MIXED_PRECISION else ' and leave out --amp'
        raise UserError(
            f'optim_wrapper.type={kind}: expected {expected!r} on {device!r}; set that{flag}'
        )
    clip = wrapper.get('clip_grad')
    if not isinstance(clip, Mapping | None):
        raise UserError(
            f'optim_wrapper.clip_grad={clip!r}: expected a dict, such as dict(max_norm=1.0)'
        )
    counts = wrapper.get('accumulative_counts', 1)
    if type(counts) is not int or counts < 1:
        raise UserError(
            f'optim_wrapper.accumulative_counts={counts!r}: expected an integer >= 1; '
            'set it to 1 to update after every batch'
        )
    for key, value in _numbers(wrapper, 'optim_wrapper'):
        name = key.rpartition('.')[2]
        if name in ('lr', 'weight_decay', 'lr_mult', 'decay_mult') and not 0 <= value < math.inf:
            raise UserError(f'{key}={value!r}: expected a finite number of at least 0; change it')


def _numbers(node: object, key: str) -> Iterator[tuple[str, float]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _numbers(value, f'{key}.{name}')
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield key, node
