"""One distillation term: taps, an adapter where channels must match, a loss, a weight."""

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmkd.adapters import build_adapter
from mmkd.errors import UserError
from mmkd.registry import MODELS
from mmkd.schedules import build_schedule
from mmkd.taps import Recording, Tap, parse_tap

_KEYS = ('student', 'teacher', 'loss', 'adapter', 'weight', 'schedule')


class Term(nn.Module):
    """Reads one place of the student and one of the teacher, and compares them.

    Args:
        name: the term's key in the config, for messages.
        student: tap (or list of taps, read as a tuple) of the student.
        teacher: tap (or list of taps) of the teacher.
        loss: a registered loss, called as ``loss(student, teacher)``.
        adapter: a registered layer without channel counts, put on each tapped
            student feature; none if omitted.
        weight: factor of the loss in the total, at least 0.
        schedule: the weight's course over time, see ``mmkd.schedules``, with ``by_epoch=True`` to
            count epochs instead of iterations; constant if omitted.
    """

    def __init__(
        self,
        name: str,
        student: str | list[str],
        teacher: str | list[str],
        loss: dict,
        adapter: dict | None = None,
        weight: float = 1.0,
        schedule: dict | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.student_taps = _parse_taps(student)
        self.teacher_taps = _parse_taps(teacher)
        self.loss = MODELS.build(dict(loss, _scope_='mmkd'))
        self.takes_labels = 'labels' in inspect.signature(self.loss.forward).parameters
        self.adapter_config = adapter
        self.adapter: nn.ModuleList | None = None
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
            raise UserError(f'weight={weight!r}; allowed: a number of at least 0')
        self.weight = weight
        schedule = dict(schedule or dict(type='constant'))
        self.by_epoch = schedule.pop('by_epoch', False)
        self.schedule = build_schedule(schedule)
        self.is_scheduled = schedule['type'] != 'constant'
        # A weight that moves is unknown until mmkd.TermScheduleHook has told the time.
        self.current_weight = None if self.is_scheduled else weight

    def build(self, student: Recording, teacher: Recording) -> None:
        """Build the adapter for the recorded features and try the loss on them once.

        Raises:
            UserError: the term cannot compare what its taps yield.
        """
        s, t = self._read(student, teacher)
        if self.adapter_config is not None:
            if len(s) != len(t):
                raise UserError(f'adapter: {len(s)} student taps but {len(t)} teacher taps')
            self.adapter = nn.ModuleList(
                build_adapter(self.adapter_config, *pair) for pair in zip(s, t, strict=True)
            )
        with torch.no_grad():
            value = self(student, teacher)
        if value.dim() != 0:
            raise UserError(f'loss returned shape {tuple(value.shape)}; allowed: a 0-dim tensor')

    def set_time(self, t: int) -> None:
        """Set the current weight for iteration (or epoch, with ``by_epoch``) ``t``."""
        self.current_weight = self.weight * self.schedule(t)

    def forward(
        self, student: Recording, teacher: Recording, labels: Tensor | None = None
    ) -> Tensor:
        """The loss (0-dim), not yet weighted, for one step.

        Args:
            student, teacher: what the two networks' forward passes recorded.
            labels: class ids (N, H, W), for a loss whose ``forward`` takes ``labels``.
        """
        s, t = self._read(student, teacher)
        if self.adapter is not None:
            s = tuple(layer(x) for layer, x in zip(self.adapter, s, strict=True))
        extra = dict(labels=labels) if self.takes_labels else {}
        return self.loss(_unwrap(s), _unwrap(t), **extra)

    def _read(self, student: Recording, teacher: Recording) -> tuple[tuple, tuple]:
        return (
            tuple(student.read(tap) for tap in self.student_taps),
            tuple(teacher.read(tap).detach() for tap in self.teacher_taps),
        )


def build_term(name: str, config: dict) -> Term:
    """Build the term ``model.distill.<name>`` of a config.

    Raises:
        UserError: the name or a key is not allowed, a key is missing, or a value is not allowed.
    """
    key = f'model.distill.{name}'
    if not name.isidentifier() or hasattr(nn.ModuleDict, name):
        raise UserError(f'{key}: allowed as a name: a word that no method of a dict has')
    if not isinstance(config, Mapping):
        raise UserError(f'{key}={config!r}; allowed: a dict, or None to drop the term')
    unknown = sorted(config.keys() - set(_KEYS))
    missing = sorted({'student', 'teacher', 'loss'} - config.keys())
    if unknown:
        raise UserError(f'{key}: unknown key {unknown[0]!r}; allowed: {", ".join(_KEYS)}')
    if missing:
        raise UserError(f'{key}: {missing[0]!r} is missing; a term needs it')
    for part in ('loss', 'adapter', 'schedule'):
        value = config.get(part)
        optional = part != 'loss' and value is None
        if not optional and not (isinstance(value, Mapping) and 'type' in value):
            raise UserError(f'{key}.{part}={value!r}; allowed: a dict with a type')
    try:
        return Term(name, **config)
    except (UserError, KeyError, TypeError) as error:
        raise UserError(f'{key}: {reason(error)}') from None


def reason(error: Exception) -> str:
    """An error's message; KeyError, which MMEngine raises for an unknown type, quotes its own."""
    return str(error.args[0]) if isinstance(error, KeyError) else str(error)


def _parse_taps(value: str | list[str]) -> list[Tap]:
    return [parse_tap(text) for text in (value if isinstance(value, list | tuple) else [value])]


def _unwrap(features: tuple) -> Tensor | tuple:
    return features[0] if len(features) == 1 else features
