"""Schedules: the factor of a term's weight over training time.

Time ``t`` is the number of the iteration, or of the epoch, that is about to run, from 0; it comes
from MMEngine's record of the run, so a resumed run goes on where it was. Every factor lies in
[0, 1]. A schedule is a config such as ``dict(type='linear_warmup', begin=0, end=500)``.
"""

import inspect
import math
from collections.abc import Callable

from mmkd.errors import UserError, check_integer

Schedule = Callable[[int], float]


def constant() -> Schedule:
    """Return 1 at all times."""
    return lambda t: 1.0


def linear_warmup(begin: int, end: int) -> Schedule:
    """Return 0 up to ``begin``, a straight line to 1 at ``end``, and 1 after it."""
    return lambda t: _progress(t, begin, end)


def linear_decay(begin: int, end: int) -> Schedule:
    """Return 1 up to ``begin``, a straight line to 0 at ``end``, and 0 after it."""
    return lambda t: 1.0 - _progress(t, begin, end)


def cosine_decay(begin: int, end: int) -> Schedule:
    """Return 1 up to ``begin``, half a cosine to 0 at ``end``, and 0 after it."""
    return lambda t: 0.5 * (1.0 + math.cos(math.pi * _progress(t, begin, end)))


def step_off(at: int) -> Schedule:
    """Return 1 before ``at``, and 0 from there on."""
    return lambda t: 1.0 if t < at else 0.0


SCHEDULES = {f.__name__: f for f in (constant, linear_warmup, linear_decay, cosine_decay, step_off)}


def build_schedule(config: dict) -> Schedule:
    """Build a schedule of ``t`` from its config.

    Raises:
        UserError: The type, a key or a value is invalid.
    """
    config = dict(config)
    name = config.pop('type', None)
    if name not in SCHEDULES:
        raise UserError(f'schedule.type={name!r}: expected one of {", ".join(SCHEDULES)}')
    keys = set(inspect.signature(SCHEDULES[name]).parameters)
    if config.keys() != keys:
        given = ', '.join(sorted(config)) or 'nothing'
        raise UserError(
            f'schedule.type={name!r} with {given}: expected {", ".join(sorted(keys)) or "nothing"}'
        )
    for key, value in config.items():
        check_integer(f'schedule.{key}', value, least=0)
    if 'end' in config and config['end'] <= config['begin']:
        begin, end = config['begin'], config['end']
        raise UserError(f'schedule.end={end}: expected a number > {begin}, the begin')
    return SCHEDULES[name](**config)


def _progress(t: int, begin: int, end: int) -> float:
    return min(1.0, max(0.0, (t - begin) / (end - begin)))
