"""One distillation term: taps, an adapter if channels differ, a loss, a weight."""

import inspect
import math
import typing
from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from mmkd.distillation.gradient_share import GradientShare
from mmkd.distillation.recording import Recording
from mmkd.distillation.schedules import build_schedule
from mmkd.distillation.shared_classes import SharedClasses, build_shared_classes
from mmkd.distillation.tap import INPUT_GRADIENT, Tap, parse_tap, resolve_tap
from mmkd.distillation.teacher_views import Target
from mmkd.errors import UserError, take_renamed_key
from mmkd.ops.attention import TeacherMap
from mmkd.ops.attention_readings import AttentionReading
from mmkd.registry import MODELS, explain_build_error

_KEYS = ('student', 'teacher', 'loss_inputs', 'loss', 'adapter', 'classes', 'weight', 'schedule')


class Term(nn.Module):
    """Compare one place of the student with one of the teacher.

    Args:
        name: The term's key in the config, for messages.
        student: Tap (or list of taps, given to the loss as a tuple) of the student.
        teacher: Tap (or list of taps) of the teacher.
        loss: A registered loss, called as ``loss(student, teacher)``.
        loss_inputs: Further taps (or lists of taps) of the teacher, by the name of the loss
            argument that takes them; none if omitted.
        adapter: A registered layer without channel counts, applied to each tapped student feature;
            none if omitted.
        classes: Class names for logits of networks with different classes:
            ``dict(student=[...], teacher=[...])``. The loss gets only the channels of classes whose
            names are in both lists. Instead of a list you can name a registered dataset type. You
            can leave out ``teacher`` if the teacher's config or folder states its classes.
        weight: Factor of the loss in the total, >= 0; or ``dict(type='gradient_share', share=0.2,
            every=50)``, see ``mmkd.distillation.gradient_share``.
        schedule: Multiplies the weight over time, see ``mmkd.distillation.schedules``. With
            ``by_epoch=True`` it counts epochs, not iterations. Constant if omitted.
    """

    def __init__(
        self,
        name: str,
        student: str | list[str],
        teacher: str | list[str],
        loss: dict,
        loss_inputs: dict[str, str | list[str]] | None = None,
        adapter: dict | None = None,
        classes: dict | None = None,
        weight: float | dict = 1.0,
        schedule: dict | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.student_taps = _parse_taps('student', student)
        self.compared_taps = _parse_taps('teacher', teacher)
        self.extra_taps = {
            key: _parse_taps(f'loss_inputs.{key}', taps)
            for key, taps in (loss_inputs or {}).items()
        }
        self.loss = MODELS.build(dict(loss, _scope_='mmkd'))
        arguments = sorted((key, value) for key, value in loss.items() if key != 'type')
        kind = type(self.loss)
        self._loss_text = f'{kind.__module__}.{kind.__qualname__}({dict(arguments)})'
        for side, taps in (('student', self.student_taps), ('teacher', self.compared_taps)):
            _check_takes_attention(self.loss, side, taps)
        attention = next((tap for tap in self.student_taps if tap.reads_attention), None)
        if attention is not None and adapter is not None:
            raise UserError(
                f'adapter={adapter}: expected none with the student tap {str(attention)!r}, which '
                'yields attention; leave it out'
            )
        # Arguments after the two features: labels, and the values of further taps.
        arguments = list(inspect.signature(self.loss.forward).parameters)[2:]
        self.takes_labels = 'labels' in arguments
        wanted = [argument for argument in arguments if argument != 'labels']
        if sorted(self.extra_taps) != sorted(wanted):
            raise UserError(
                f'loss_inputs={", ".join(self.extra_taps) or "nothing"}: expected '
                f'{", ".join(wanted) or "nothing"}, which {type(self.loss).__name__} takes'
            )
        self.adapter_config = adapter
        self.adapter: nn.ModuleList | None = None
        self.classes_config = classes
        self.classes: SharedClasses | None = None
        self.weight = _build_weight(weight)
        schedule = dict(schedule or dict(type='constant'))
        self.by_epoch = schedule.pop('by_epoch', False)
        if not isinstance(self.by_epoch, bool):
            raise UserError(f'schedule.by_epoch={self.by_epoch!r}: expected True or False')
        self.schedule = build_schedule(schedule)
        self.is_scheduled = schedule['type'] != 'constant'
        self.weight_moves = self.is_scheduled or isinstance(self.weight, GradientShare)
        # A weight that changes is unknown until mmkd.LossWeightHook has set the time.
        self.schedule_factor = None if self.weight_moves else 1.0

    @property
    def current_weight(self) -> float | None:
        """The factor of the loss in this iteration; None until the time is set."""
        if self.schedule_factor is None:
            return None
        weight = self.weight.value if isinstance(self.weight, GradientShare) else self.weight
        return weight * self.schedule_factor

    @property
    def is_active(self) -> bool:
        """Whether the loss is computed in this iteration, possibly only to measure its gradient."""
        return bool(self.schedule_factor and self.weight)

    @property
    def needs_task_loss(self) -> bool:
        """Whether the term reads a gradient of the task's loss, which needs labels."""
        return INPUT_GRADIENT in (*self.student_taps, *self.teacher_taps)

    @property
    def teacher_taps(self) -> list[Tap]:
        """All taps of the teacher that the term uses."""
        return [*self.compared_taps, *chain.from_iterable(self.extra_taps.values())]

    def resolve_taps(self, student: nn.Module, teacher: nn.Module) -> None:
        """Find the tapped modules in the two networks.

        Raises:
            UserError: A network does not have such a module.
        """
        self.student_taps = [resolve_tap(student, tap) for tap in self.student_taps]
        self.compared_taps = [resolve_tap(teacher, tap) for tap in self.compared_taps]
        self.extra_taps = {
            key: [resolve_tap(teacher, tap) for tap in taps]
            for key, taps in self.extra_taps.items()
        }

    def match_classes(self, known: Sequence[str] | None) -> None:
        """Match the classes of the two networks, if the term has ``classes``, and log the result.

        Args:
            known: The names that the teacher states; None if it states none.

        Raises:
            UserError: The names are not known, or none is in both.
        """
        self.classes = build_shared_classes(self.classes_config, known)
        if self.classes is not None:
            self.classes.report(self.name)

    def build(
        self,
        student: Recording,
        teacher: Recording,
        images: int,
        labels: Tensor | None = None,
    ) -> None:
        """Build the adapter for the recorded features and compute the loss on them once.

        Args:
            student, teacher: What the two networks' forward passes recorded.
            images: Number of images that both networks saw.
            labels: Class ids (B, H, W), for a loss that takes them.

        Raises:
            UserError: The term cannot compare the values of its taps.
        """
        s, t = _values(self.student_taps, student), _frozen_values(self.compared_taps, teacher)
        for tap, feature in zip([*self.student_taps, *self.compared_taps], [*s, *t], strict=True):
            _check_batch(tap, feature, images)
        if self.classes is not None:
            for side, features in (('student', s), ('teacher', t)):
                for feature in features:
                    self.classes.check_channels(side, _tensor(feature))
        if self.adapter_config is not None:
            if len(s) != len(t):
                raise UserError(
                    f'adapter: {len(s)} student and {len(t)} teacher taps: expected the same number'
                )
            self.adapter = nn.ModuleList(
                _build_adapter(self.adapter_config, *pair) for pair in zip(s, t, strict=True)
            )
        with torch.no_grad():
            value = self(student, teacher, labels)
        if value.dim() != 0:
            raise UserError(f'loss returned shape {tuple(value.shape)}: expected a 0-dim tensor')

    def check_views(self) -> None:
        """Check that what the term reads of the teacher depends on the image alone.

        Raises:
            UserError: It does not.
        """
        other = next(
            (t for t in self.teacher_taps if t.reads_attention or t == INPUT_GRADIENT), None
        )
        if other is not None:
            raise UserError(
                f'teacher tap {str(other)!r}: expected a feature with --teacher-views; run without'
            )

    def targets(self, student: Recording, sizes: Mapping[Tap, tuple[int, int]]) -> list[Target]:
        """Return what the term reads of the teacher.

        Args:
            student: What the student's pass recorded.
            sizes: Height and width of the teacher's features.
        """
        whole = [Target(tap) for tap in dict.fromkeys(self.teacher_taps)]
        # A subclass may compare something else: it has to define the method itself.
        keeps_maps = 'teacher_map' in vars(type(self.loss)) and self.loss.reads_teacher_map
        if self.classes is not None or self.adapter is not None or not keeps_maps:
            return whole
        maps: dict[Tap, set[Target]] = {}
        students = _values(self.student_taps, student)
        for tap, x in zip(self.compared_taps, students, strict=True):
            size = tuple(map(min, x.shape[-2:], sizes[tap]))
            maps.setdefault(tap, set()).add(Target(tap, self.loss, size, self._loss_text))
        # A tap that serves at two sizes is kept whole.
        once = {tap: next(iter(found)) for tap, found in maps.items() if len(found) == 1}
        return [once.get(target.tap, target) for target in whole]

    def check_gradient(self, student: Recording) -> None:
        """Check that the term can change the student.

        Raises:
            UserError: A tap of the student does not have a gradient. The loss can still have one
                through the weights of an adapter.
        """
        for tap in self.student_taps:
            if not _tensor(student[tap]).requires_grad:
                raise UserError(
                    f'student tap {str(tap)!r}: expected a gradient, but it is in a frozen or '
                    'checkpointed (with_cp) part of the student; tap a later layer'
                )

    def counts_pixels(self, labels: Tensor | None) -> bool:
        """Return whether a pixel of the label maps (B, H, W) counts in the loss; True for None."""
        if labels is None:
            return True
        if self.classes is not None:
            labels = self.classes.ignore_others(labels, self._ignore_index)
        return bool((labels != self._ignore_index).any())

    @property
    def _ignore_index(self) -> int:
        return getattr(self.loss, 'ignore_index', 255)

    def compared(self, student: Recording, teacher: Recording) -> dict[str, Tensor]:
        """Return what the term compares, without its graph, by side and tap."""
        sides = (('student', self.student_taps, student), ('teacher', self.teacher_taps, teacher))
        return {
            f'{side} {tap}': _tensor(recording[tap]).detach()
            for side, taps, recording in sides
            for tap in taps
        }

    def set_time(self, iteration: int, epoch: int) -> None:
        """Set the weight for the iteration and epoch that are about to run, counted from 0."""
        self.schedule_factor = self.schedule(epoch if self.by_epoch else iteration)
        if isinstance(self.weight, GradientShare):
            self.weight.set_iteration(iteration)

    def forward(
        self, student: Recording, teacher: Recording, labels: Tensor | None = None
    ) -> Tensor:
        """Return the loss (0-dim) of one step, not yet weighted.

        Args:
            student, teacher: What the forward passes of the two networks recorded.
            labels: Class ids (B, H, W), for a loss whose ``forward`` takes ``labels``.
        """
        s, t = _values(self.student_taps, student), _frozen_values(self.compared_taps, teacher)
        if self.adapter is not None:
            s = tuple(layer(x) for layer, x in zip(self.adapter, s, strict=True))
        if self.classes is not None:
            s = tuple(self.classes('student', x) for x in s)
            t = tuple(self.classes('teacher', x) for x in t)
            if labels is not None:
                labels = self.classes.ignore_others(labels, self._ignore_index)
        extra = {
            key: _unwrap(_frozen_values(taps, teacher)) for key, taps in self.extra_taps.items()
        }
        if self.takes_labels:
            extra['labels'] = labels
        return self.loss(_unwrap(s), _unwrap(t), **extra)


def build_term(name: str, config: dict) -> Term:
    """Build the term ``model.distill.<name>`` of a config.

    Raises:
        UserError: The name, a key or a value is invalid, or a key is missing.
    """
    key = f'model.distill.{name}'
    if not name.isidentifier() or hasattr(nn.ModuleDict, name):
        raise UserError(f'{key}: expected an identifier that is not a dict method; rename the term')
    if not isinstance(config, Mapping):
        raise UserError(f'{key}={config!r}: expected a dict, or None to drop the term')
    config = take_renamed_key(config, 'teacher_extra', 'loss_inputs', key)
    unknown = sorted(config.keys() - set(_KEYS))
    missing = sorted({'student', 'teacher', 'loss'} - config.keys())
    if unknown:
        raise UserError(f'{key}: unknown key {unknown[0]!r}: expected {", ".join(_KEYS)}')
    if missing:
        raise UserError(f'{key}.{missing[0]}: expected this key; add it')
    if config.get('classes') is not None and config.get('adapter') is not None:
        raise UserError(
            f'{key}: classes and adapter: expected one of the two; classes are for logits'
        )
    extra = config.get('loss_inputs')
    if extra is not None and not isinstance(extra, Mapping):
        raise UserError(f'{key}.loss_inputs={extra!r}: expected a dict of taps by argument')
    for part in ('loss', 'adapter', 'schedule'):
        value = config.get(part)
        optional = part != 'loss' and value is None
        if not optional and not (isinstance(value, Mapping) and 'type' in value):
            raise UserError(f'{key}.{part}={value!r}: expected a dict with a type')
    try:
        return Term(name, **config)
    except (UserError, KeyError, TypeError) as error:
        raise UserError(f'{key}: {explain_term_error(error)}') from None


def explain_term_error(error: Exception) -> str:
    """Return an error's message, or the one-line reason if a type or an argument does not exist."""
    return explain_build_error(error) or str(error)


def _build_weight(weight: float | Mapping) -> float | GradientShare:
    if isinstance(weight, Mapping):
        arguments = {key: value for key, value in weight.items() if key != 'type'}
        named = weight.get('type') == 'gradient_share' and 'share' in weight
        if named and arguments.keys() <= {'share', 'every'}:
            return GradientShare(**arguments)
    elif isinstance(weight, int | float) and not isinstance(weight, bool):
        if 0 <= weight < math.inf:
            return weight
    raise UserError(
        f'weight={weight!r}: expected a number >= 0, '
        "or dict(type='gradient_share', share=..., every=...)"
    )


def _parse_taps(key: str, value: str | list[str]) -> list[Tap]:
    taps = [parse_tap(text) for text in (value if isinstance(value, list | tuple) else [value])]
    if not taps:
        raise UserError(f'{key}={value!r}: expected a tap, or a list of at least one')
    return taps


def _values(taps: list[Tap], recording: Recording) -> tuple:
    return tuple(recording[tap] for tap in taps)


def _frozen_values(taps: list[Tap], recording: Recording) -> tuple:
    # Detach: a teacher that computes its input gradient runs with a graph, which is freed by now.
    return tuple(feature.detach() for feature in _values(taps, recording))


def _check_takes_attention(loss: nn.Module, side: str, taps: list[Tap]) -> None:
    attention = next((tap for tap in taps if tap.reads_attention), None)
    kinds = typing.get_type_hints(loss.forward).get(side)
    if attention is None or kinds is None:
        return
    accepted = typing.get_args(kinds) or (kinds,)
    if not any(isinstance(k, type) and issubclass(k, AttentionReading) for k in accepted):
        raise UserError(
            f'{side} tap {str(attention)!r}: expected a feature, which {type(loss).__name__} '
            'compares; tap the module without attention(), or use SpectrumLoss or '
            'SpectralGraphLoss'
        )


def _tensor(feature: Tensor | AttentionReading | TeacherMap) -> Tensor:
    return feature if isinstance(feature, Tensor) else feature.tensor


def _check_batch(tap: Tap, feature: Tensor | AttentionReading, images: int) -> None:
    """Check that a feature has one entry for each image, as losses take it to have."""
    shape = tuple(_tensor(feature).shape)
    if not isinstance(feature, AttentionReading) and shape[:1] != (images,):
        raise UserError(
            f'tap {str(tap)!r} yields shape {shape} of {images} images: expected ({images}, ...), '
            'one entry for each image; tap a module whose output begins with the batch, not with '
            'layers, regions or tokens'
        )


def describe_feature(feature: Tensor) -> str:
    """Return the shape and the range of a feature, and how many values are not finite."""
    feature = feature.double()
    known = feature[torch.isfinite(feature)]
    text = f'{tuple(feature.shape)}'
    if known.numel():
        text += f' from {known.min():.3g} to {known.max():.3g}'
    return f'{text} with {feature.numel() - known.numel()} values not finite'


def _unwrap(features: tuple) -> Tensor | tuple:
    return features[0] if len(features) == 1 else features


def _build_adapter(config: dict, student: Tensor, teacher: Tensor) -> nn.Module:
    """Build a term's adapter for the features of its taps.

    Any registered layer that takes ``in_channels`` and ``out_channels`` works, such as
    ``dict(type='Conv2d', kernel_size=1)``. Both counts come from the features.

    Args:
        config: The layer without its channel counts.
        student: A student feature (B, C_S, H, W).
        teacher: The teacher's feature (B, C_T, H', W').

    Raises:
        UserError: The config sets a channel count.
    """
    typed_in = {'in_channels', 'out_channels'} & config.keys()
    if typed_in:
        raise UserError(
            f'adapter: expected no {", ".join(sorted(typed_in))}; channel counts come from the '
            'tapped features'
        )
    channels = dict(in_channels=student.shape[1], out_channels=teacher.shape[1])
    return MODELS.build(dict(config, _scope_='mmkd', **channels))
