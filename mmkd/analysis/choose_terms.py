"""Choose the terms of a distillation from the features that two networks have."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmkd.analysis.feature_survey import Feature
from mmkd.errors import UserError

METHODS = ('auto', 'features', 'at', 'freq', 'logits', 'spectral', 'frs')
STRONG_SHARE = 0.9
"""Share of the task's gradient of each term of features or logits of two segmentors."""
WEAK_SHARE = 0.2
"""Share that all other terms get together: attention and detectors did not gain from more."""


@dataclass(frozen=True)
class Networks:
    """What is known of a student and a teacher before their terms are chosen.

    Attributes:
        student, teacher: The features of backbone and neck.
        teacher_inner: Features inside the teacher's neck and heads, for maps that its stages lack.
        student_inner: Features inside the student's backbone, for maps that its stages lack.
        logits: Taps of the student's and the teacher's logits, where both are segmentors.
        scores: Taps of the class scores and of the neck, level by level, where both are detectors.
        same_classes: Whether both tell the same classes apart.
        classes: ``classes`` of a term of logits, for two networks that share some of their classes.
    """

    student: Sequence[Feature]
    teacher: Sequence[Feature]
    teacher_inner: Sequence[Feature] = ()
    student_inner: Sequence[Feature] = ()
    logits: tuple[str, str] | None = None
    scores: tuple[Sequence[str], Sequence[str]] | None = None
    same_classes: bool = False
    classes: Mapping[str, list[str]] | None = None


@dataclass
class Choice:
    """The terms that were chosen, and why.

    Attributes:
        terms: Config of each term, by name.
        reasons: One line a decision.
    """

    terms: dict[str, dict] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def choose_terms(networks: Networks, method: str = 'auto') -> Choice:
    """Choose terms for a pair of networks.

    ``auto`` compares normalised features at every stride that both have, and logits where the
    classes agree: the two that help most pairs. Every other method compares what its name says.

    Raises:
        UserError: The method is unknown, or the pair does not have what it needs.
    """
    if method not in METHODS:
        raise UserError(f'--method={method}: expected one of {", ".join(METHODS)}')
    choice = Choice()
    if method == 'frs':
        _add_richness(choice, networks)
    if method in ('auto', 'features', 'at', 'freq', 'spectral'):
        _add_features(choice, networks, method)
    if method in ('auto', 'logits'):
        _add_logits(choice, networks, needed=method == 'logits')
    if not choice.terms:
        raise UserError(
            f'--method={method}: expected features of similar stride in both networks; the student '
            f'has {_strides(networks.student)}, the teacher {_strides(networks.teacher)}; '
            f'{"".join(f"{reason}; " for reason in choice.reasons)}write the terms yourself '
            '(docs/concepts.md)'
        )
    is_strong = networks.logits is not None and method in ('auto', 'features', 'logits')
    share = STRONG_SHARE if is_strong else round(WEAK_SHARE / len(choice.terms), 3)
    for term in choice.terms.values():
        term['weight'] = dict(type='gradient_share', share=share)
    return choice


def _add_features(choice: Choice, networks: Networks, method: str) -> None:
    pairs = _pair_by_stride(networks, choice, needs_map=method in ('at', 'freq'))
    if method == 'spectral':
        pairs = pairs[-1:]  # the coarsest: a graph has one node a patch
    for number, (name, student, teacher) in enumerate(pairs):
        term = dict(student=student.tap, teacher=teacher.tap)
        term['loss'] = _feature_loss(method, number, len(pairs))
        if method in ('auto', 'features') and student.channels != teacher.channels:
            term['adapter'] = dict(type='Conv2d', kernel_size=1)
        choice.terms[name] = term
        adapter = ', a 1x1 convolution matches channels' if 'adapter' in term else ''
        choice.reasons.append(
            f'{name}: {student.tap} ({student.channels} channels) learns from {teacher.tap} '
            f'({teacher.channels} channels){adapter}'
        )


def _feature_loss(method: str, number: int, count: int) -> dict:
    if method == 'at':
        return dict(type='ActivationATLoss')
    if method == 'spectral':
        return dict(type='SpectralGraphLoss', affinity=dict(type='SimilarityAffinity'))
    if method == 'freq':  # fine stages: borders; coarse stages: the layout of the scene
        low = 0.0 if number < count / 2 else 1.0
        return dict(type='FrequencyAttentionLoss', low=low, high=1.0 - low, cutoff=0.25)
    return dict(type='PKDLoss')


def _pair_by_stride(
    networks: Networks, choice: Choice, needs_map: bool
) -> list[tuple[str, Feature, Feature]]:
    """Pair each feature of the student with one of the teacher, the finest first."""
    pairs, names = [], {}
    for student in sorted(networks.student, key=lambda f: f.stride):
        if needs_map and not student.has_map:
            choice.reasons.append(f'{student.tap} is not used: its attention map is constant')
            taken = [feature for _, feature, _ in pairs]
            student = _last_with_map(networks.student_inner, student.stride)
            if student is None or student in taken:
                continue
        teacher = _nearest(student, networks, choice, needs_map)
        if teacher is None:
            continue
        name = f'stride_{student.stride:g}'.replace('.', '_')  # 0.5: finer than the image
        names[name] = names.get(name, 0) + 1
        name += '' if names[name] == 1 else f'_{names[name]}'
        pairs.append((name, student, teacher))
    return pairs


def _last_with_map(features: Sequence[Feature], stride: float) -> Feature | None:
    """Return the last feature of a stride whose attention map varies."""
    return next((f for f in reversed(features) if f.stride == stride and f.has_map), None)


def _nearest(
    student: Feature, networks: Networks, choice: Choice, needs_map: bool
) -> Feature | None:
    """Return the teacher's feature of the nearest stride, at most a factor of two away."""

    def distance(feature: Feature) -> float:
        return abs(math.log2(feature.stride / student.stride))

    near = [f for f in networks.teacher if distance(f) <= 1]
    if needs_map:
        for feature in near:
            reason = f"the teacher's {feature.tap} is not used: its attention map is constant"
            if not feature.has_map and reason not in choice.reasons:
                choice.reasons.append(reason)
        near = [f for f in near if f.has_map]
        near += [f for f in networks.teacher_inner if distance(f) <= 1 and f.has_map]
    return min(near, key=distance, default=None)


def _add_logits(choice: Choice, networks: Networks, needed: bool) -> None:
    if networks.logits is None:
        text = 'logits are not compared: expected two segmentors with logits at every pixel'
    elif not networks.same_classes and not networks.classes:
        text = 'logits are not compared: student and teacher have other classes'
    else:
        student, teacher = networks.logits
        choice.terms['logits'] = dict(
            student=student, teacher=teacher, loss=dict(type='LogitKDLoss', tau=1.0)
        )
        if networks.same_classes:
            choice.reasons.append('logits: both networks have the same classes')
        else:
            choice.terms['logits']['classes'] = dict(networks.classes)
            choice.reasons.append('logits: on the classes whose names both networks have')
        return
    if needed:
        raise UserError(f'--method=logits: {text}')
    choice.reasons.append(text)


def _add_richness(choice: Choice, networks: Networks) -> None:
    if networks.scores is None:
        raise UserError(
            '--method=frs: expected two detectors with a neck and class scores at the same number '
            'of levels; use --method=features'
        )
    levels, scores = networks.scores
    choice.terms['richness'] = dict(
        student=list(levels),
        teacher=list(levels),
        loss_inputs=dict(scores=list(scores)),
        loss=dict(type='FRSFeatureLoss'),
        adapter=dict(type='Conv2d', kernel_size=3, padding=1),
    )
    choice.reasons.append(
        f"richness: {len(levels)} levels of the neck, weighted by the teacher's scores"
    )


def _strides(features: Sequence[Feature]) -> str:
    return ', '.join(f'{f.tap} at {f.stride:g}' for f in features) or 'none'
