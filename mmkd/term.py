"""One distillation term: taps, an adapter where channels must match, a loss, a weight."""

import inspect
import math
from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from mmkd.adapters import build_adapter
from mmkd.attention_taps import Attention
from mmkd.errors import UserError
from mmkd.registry import MODELS, why_not_built
from mmkd.scan_taps import ScanInputs
from mmkd.schedules import build_schedule
from mmkd.taps import Recording, Tap, parse_tap, resolve_tap

_KEYS = ('student', 'teacher', 'teacher_extra', 'loss', 'adapter', 'weight', 'schedule')


class Term(nn.Module):
    """Reads one place of the student and one of the teacher, and compares them.

    Args:
        name: the term's key in the config, for messages.
        student: tap (or list of taps, read as a tuple) of the student.
        teacher: tap (or list of taps) of the teacher.
        loss: a registered loss, called as ``loss(student, teacher)``.
        teacher_extra: further taps (or lists of taps) of the teacher, by the name of the argument
            of the loss that takes them; none if omitted.
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
        teacher_extra: dict[str, str | list[str]] | None = None,
        adapter: dict | None = None,
        weight: float = 1.0,
        schedule: dict | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.student_taps = _parse_taps('student', student)
        self.compared_taps = _parse_taps('teacher', teacher)
        self.extra_taps = {
            key: _parse_taps(f'teacher_extra.{key}', taps)
            for key, taps in (teacher_extra or {}).items()
        }
        self.loss = MODELS.build(dict(loss, _scope_='mmkd'))
        # What follows the two features: labels, and what further taps yield.
        arguments = list(inspect.signature(self.loss.forward).parameters)[2:]
        self.takes_labels = 'labels' in arguments
        wanted = [argument for argument in arguments if argument != 'labels']
        if sorted(self.extra_taps) != sorted(wanted):
            raise UserError(
                f'teacher_extra names {", ".join(self.extra_taps) or "nothing"}; '
                f'{type(self.loss).__name__} takes {", ".join(wanted) or "nothing"}'
            )
        self.adapter_config = adapter
        self.adapter: nn.ModuleList | None = None
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight < math.inf:
            raise UserError(f'weight={weight!r}; allowed: a number of at least 0')
        self.weight = weight
        schedule = dict(schedule or dict(type='constant'))
        self.by_epoch = schedule.pop('by_epoch', False)
        if not isinstance(self.by_epoch, bool):
            raise UserError(f'schedule.by_epoch={self.by_epoch!r}; allowed: True or False')
        self.schedule = build_schedule(schedule)
        self.is_scheduled = schedule['type'] != 'constant'
        # A weight that moves is unknown until mmkd.TermScheduleHook has told the time.
        self.current_weight = None if self.is_scheduled else weight

    @property
    def teacher_taps(self) -> list[Tap]:
        """All that the term reads from the teacher."""
        return [*self.compared_taps, *chain.from_iterable(self.extra_taps.values())]

    def resolve_taps(self, student: nn.Module, teacher: nn.Module) -> None:
        """Find the tapped modules in the two networks.

        Raises:
            UserError: a network has no such module.
        """
        self.student_taps = [resolve_tap(student, tap) for tap in self.student_taps]
        self.compared_taps = [resolve_tap(teacher, tap) for tap in self.compared_taps]
        self.extra_taps = {
            key: [resolve_tap(teacher, tap) for tap in taps]
            for key, taps in self.extra_taps.items()
        }

    def build(self, student: Recording, teacher: Recording) -> None:
        """Build the adapter for the recorded features and try the loss on them once.

        Raises:
            UserError: the term cannot compare what its taps yield.
        """
        s, t = _read(self.student_taps, student), _read_frozen(self.compared_taps, teacher)
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

    def check_gradient(self, student: Recording) -> None:
        """Check that what the term reads can change the student.

        Raises:
            UserError: a tap of the student has no gradient. The loss may have one all the same, by
                the weights of an adapter.
        """
        for tap in self.student_taps:
            if not _tensor(student.read(tap)).requires_grad:
                raise UserError(
                    f'student tap {str(tap)!r} has no gradient: it lies in a frozen or '
                    'checkpointed (with_cp) part of the student; tap behind it'
                )

    def describe(self, student: Recording, teacher: Recording) -> str:
        """Statistics of what the term compares, in one line."""
        sides = (('student', self.student_taps, student), ('teacher', self.teacher_taps, teacher))
        return ', '.join(
            f'{side} {tap} {_statistics(recording.read(tap))}'
            for side, taps, recording in sides
            for tap in taps
        )

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
        s, t = _read(self.student_taps, student), _read_frozen(self.compared_taps, teacher)
        if self.adapter is not None:
            s = tuple(layer(x) for layer, x in zip(self.adapter, s, strict=True))
        extra = {key: _unwrap(_read_frozen(taps, teacher)) for key, taps in self.extra_taps.items()}
        if self.takes_labels:
            extra['labels'] = labels
        return self.loss(_unwrap(s), _unwrap(t), **extra)


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
    extra = config.get('teacher_extra')
    if extra is not None and not isinstance(extra, Mapping):
        raise UserError(f'{key}.teacher_extra={extra!r}; allowed: a dict of taps by argument')
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
    """An error's message, of a type or an argument that does not exist with what is allowed."""
    return why_not_built(error) or str(error)


def _parse_taps(key: str, value: str | list[str]) -> list[Tap]:
    taps = [parse_tap(text) for text in (value if isinstance(value, list | tuple) else [value])]
    if not taps:
        raise UserError(f'{key}={value!r}; allowed: a tap, or a list of one and more')
    return taps


def _read(taps: list[Tap], recording: Recording) -> tuple:
    return tuple(recording.read(tap) for tap in taps)


def _read_frozen(taps: list[Tap], recording: Recording) -> tuple:
    # A teacher that was asked for its input's gradient ran with a graph, which is gone.
    return tuple(feature.detach() for feature in _read(taps, recording))


def _tensor(feature: Tensor | Attention | ScanInputs) -> Tensor:
    if isinstance(feature, Attention):
        return feature.query
    return feature.delta if isinstance(feature, ScanInputs) else feature


def _statistics(feature: Tensor | Attention | ScanInputs) -> str:
    feature = _tensor(feature).detach().double()
    known = feature[torch.isfinite(feature)]
    text = f'{tuple(feature.shape)}'
    if known.numel():
        text += f' from {known.min():.3g} to {known.max():.3g}'
    return f'{text} with {feature.numel() - known.numel()} values not finite'


def _unwrap(features: tuple) -> Tensor | tuple:
    return features[0] if len(features) == 1 else features
