"""Train a baseline for as much wall-clock time as a distillation takes."""

import re
from collections.abc import Iterator, Mapping

from mmengine.config import Config

from mmkd.config.types import type_name
from mmkd.datasets.scheduled_mix_dataset import MIXING_KEYS
from mmkd.errors import UserError

# The arguments of parameter schedulers and of hooks that count iterations, epochs or validations.
_TIMES = (
    'begin', 'end', 'T_max', 'total_iters', 'total_steps', 'step_size', 'milestones', 'periods',
    'patience', 'cooldown', 'cool_down_time', 'switch_epoch', 'num_last_epochs', 'begin_iter',
    'begin_epoch', 'stop_iter_or_epoch',
)  # fmt: skip
# How other names tell that they count the same.
_COUNTS = re.compile(r'(^|_)(epochs?|iters?|steps?)($|_)')


def stretch_training(config: Config, factor: float) -> list[str]:
    """Return the overrides, as ``key=value``, that make a training ``factor`` times longer.

    Every schedule of the optimizer's parameters is stretched with it, warm-ups too, and so are the
    epochs at which hooks switch something, those from which validations have another interval, and
    the number of samples after which mosaic and mixup end.

    Raises:
        UserError: It is too short to become longer, or a schedule or a hook counts iterations in a
            way that is not known.
    """
    loop = 'max_iters' if config.train_cfg.get('max_iters') else 'max_epochs'
    length = config.train_cfg[loop]
    longer = round(length * factor)
    if longer == length:
        raise UserError(
            f'--equal-time={factor:g}: expected a factor that makes train_cfg.{loop}={length} '
            'longer, in whole numbers; raise it, or leave it out'
        )
    options = {f'train_cfg.{loop}': longer}
    for part in ('param_scheduler', 'default_hooks', 'custom_hooks'):
        for name, node in _parts(config, part):
            _check_stretchable(name, node, factor)
            options |= {f'{name}.{key}': value for key, value in _stretched(node, factor)}
    if intervals := config.train_cfg.get('dynamic_intervals'):
        pairs = (f'({round(begin * factor)},{interval})' for begin, interval in intervals)
        options['train_cfg.dynamic_intervals'] = f'[{",".join(pairs)}]'
    for key, samples in _mixing(config.train_dataloader.dataset, 'train_dataloader.dataset'):
        options[key] = round(samples * factor)
    return [f'{key}={value}' for key, value in options.items()]


def _parts(config: Config, key: str) -> Iterator[tuple[str, Mapping]]:
    """Yield the schedulers or hooks under ``key`` by their names in the config."""
    node = config.get(key) or []
    if isinstance(node, Mapping) and 'type' in node:
        yield key, node
        return
    named = node.items() if isinstance(node, Mapping) else enumerate(node)
    yield from ((f'{key}.{name}', part) for name, part in named if isinstance(part, Mapping))


def _mixing(node: object, name: str) -> Iterator[tuple[str, int]]:
    """Yield the samples until which a dataset mixes images, also one inside of another."""
    if isinstance(node, Mapping):
        parts = node.items()
        yield from ((f'{name}.{key}', node[key]) for key in MIXING_KEYS if node.get(key))
    else:
        parts = enumerate(node) if isinstance(node, list | tuple) else ()
    for key, part in parts:
        yield from _mixing(part, f'{name}.{key}')


def _check_stretchable(name: str, node: Mapping, factor: float) -> None:
    for key, value in node.items():
        counts = type(value) is int and value > 0 and _COUNTS.search(key) and key not in _TIMES
        if counts or type_name(node.get('type')).startswith('Exponential') and key == 'gamma':
            raise UserError(
                f'{name}.{key}={value}: expected one of {", ".join(_TIMES)}, which '
                f'--equal-time={factor:g} stretches; leave out --equal-time, and train a config '
                'of the longer baseline'
            )


def _stretched(node: Mapping, factor: float) -> Iterator[tuple[str, int | str]]:
    for key in _TIMES:
        if key == 'total_steps' and node.get(key):
            # One less than the steps between its rounded ends would end the training with an error.
            begin = node.get('begin', 0)
            yield key, round((begin + node[key]) * factor) - round(begin * factor)
        elif node.get(key):
            yield key, _stretch(node[key], factor)


def _stretch(value: int | list[int], factor: float) -> int | str:
    if isinstance(value, list | tuple):
        return '[' + ','.join(str(round(item * factor)) for item in value) + ']'
    return round(value * factor)
