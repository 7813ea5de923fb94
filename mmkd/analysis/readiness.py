"""Judge, before hours of training, whether a distillation has something to teach."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmkd.analysis.feature_survey import LEAST_VARIATION, Feature
from mmkd.analysis.term_gradients import TermGradient

LEAST_GAP = 2.0
"""Points that a teacher should be ahead of the student, on a metric from 0 to 100."""

WEAK, STRONG = 0.02, 1.0
"""Shares of the task's gradient between which a term neither vanishes nor outweighs the labels."""


@dataclass(frozen=True)
class Readiness:
    """What was found out about a distillation.

    Attributes:
        teacher_score: The teacher's score, from 0 to 100; None for a teacher without a head.
        baseline_score: The score of the student without a teacher, where it is known.
        gradients: Each term's gradient beside the task's, by term.
        features: What each tap of a term yields, by term.
        map_terms: Names of the terms that compare attention maps.
        step_ms: Milliseconds of a training step of the baseline and of the distillation.
        iterations: Length of the training.
    """

    teacher_score: float | None
    baseline_score: float | None
    gradients: Mapping[str, TermGradient]
    features: Mapping[str, Sequence[Feature]]
    map_terms: Sequence[str]
    step_ms: tuple[float, float]
    iterations: int


def verdict(found: Readiness) -> list[str]:
    """Return what is wrong, in sentences, the gravest first; one sentence where nothing is."""
    said = [*_judge_gap(found), *_judge_maps(found), *_judge_gradients(found)]
    ahead = '' if found.teacher_score is None else 'the teacher is ahead, and '
    return said or [f'No fault found: {ahead}every term pulls.']


def _judge_gap(found: Readiness) -> list[str]:
    if found.teacher_score is None:
        return []
    if found.baseline_score is None:
        return [
            "The baseline's score is not known, so the gap to the teacher is not either: train the "
            'student without a teacher and pass its checkpoint by --baseline.'
        ]
    gap = found.teacher_score - found.baseline_score
    if gap >= LEAST_GAP:
        return []
    side = 'below' if gap < 0 else 'above'
    return [
        f'The teacher is {abs(gap):.1f} points {side} your student: there is little to teach. '
        'Take a stronger teacher.'
    ]


def _judge_maps(found: Readiness) -> list[str]:
    said = []
    for name in found.map_terms:
        for feature in found.features[name]:
            if not feature.has_map:
                said.append(
                    f'Term {name} compares attention maps, and the map of {feature.tap} is the '
                    f'same everywhere (it varies by {feature.variation:.3f}, less than '
                    f'{LEAST_VARIATION}): it teaches nothing. Tap a layer that does not end in a '
                    'LayerNorm.'
                )
    return said


def _judge_gradients(found: Readiness) -> list[str]:
    said = []
    for name, term in found.gradients.items():
        if not math.isfinite(term.ratio):
            said.append(
                f"Term {name} is not finite: its gradient is {term.ratio} times the task's. Check "
                "the teacher's weights, and the student's."
            )
            continue
        if term.ratio < WEAK:
            said.append(
                f"Term {name} hardly pulls: its gradient is {term.ratio:.3f} of the task's. "
                "Raise its weight, or set weight=dict(type='gradient_share', share=0.2)."
            )
        if term.ratio > STRONG:
            said.append(
                f'Term {name} outweighs the labels: its gradient is {term.ratio:.1f} times the '
                "task's. Lower its weight."
            )
        if term.cosine < -0.1:
            said.append(
                f'Term {name} works against the labels (cosine {term.cosine:+.2f}). Check the '
                "teacher's classes and preprocessing, or drop the term."
            )
    return said
