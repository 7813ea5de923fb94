"""Judge, before hours of training, whether a distillation has something to teach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from mmkd.analysis.feature_survey import LEAST_VARIATION, Feature
from mmkd.analysis.term_gradients import TermGradient

LEAST_GAP = 2.0
"""Points that a teacher should be ahead of the student, on a metric from 0 to 100."""

WEAK, STRONG = 0.02, 10.0
"""Shares of the task's gradient between which a term neither vanishes nor outweighs the labels.

The terms of the recipes that gain most begin at 0.8 to 6 times the task's gradient.
"""


@dataclass(frozen=True)
class Readiness:
    """What was found out about a distillation.

    Attributes:
        teacher_score: The teacher's score, from 0 to 100; None for a teacher without a head.
        baseline_score: The score of the student without a teacher, where it is known.
        gradients: Each term's gradient beside the task's, by term; without terms of weight 0.
        features: What each tap of a term yields, by term, of every term.
        map_terms: Names of the terms that compare attention maps.
        step_ms: Milliseconds of a training step of the baseline and of the distillation.
        iterations: Length of the training.
        smaller_is_better: Whether a smaller score is the better one.
    """

    teacher_score: float | None
    baseline_score: float | None
    gradients: Mapping[str, TermGradient]
    features: Mapping[str, Sequence[Feature]]
    map_terms: Sequence[str]
    step_ms: tuple[float, float]
    iterations: int
    smaller_is_better: bool = False


def verdict(found: Readiness) -> list[str]:
    """Return what is wrong, in sentences, the gravest first; one sentence where nothing is."""
    said = [*_judge_gap(found), *_judge_maps(found), *_judge_gradients(found)]
    ahead = '' if found.teacher_score is None else 'the teacher is ahead, and '
    return said or [f'No fault found: {ahead}every term has an effect.']


def _judge_gap(found: Readiness) -> list[str]:
    if found.teacher_score is None:
        return []
    scores = dict(teacher=found.teacher_score, student=found.baseline_score)
    broken = [name for name, score in scores.items() if score is not None and not isfinite(score)]
    if broken:
        return [
            f'The score of the {name} is {scores[name]}, so the gap between the two is not known. '
            'Check its weights, and the classes that the validation images hold.'
            for name in broken
        ]
    if found.baseline_score is None:
        return [
            "The baseline's score is not known, so the gap to the teacher is not either: train the "
            'student without a teacher and pass its checkpoint by --baseline.'
        ]
    higher = found.teacher_score - found.baseline_score
    gap = -higher if found.smaller_is_better else higher
    if gap >= LEAST_GAP:
        return []
    side = 'below' if higher < 0 else 'above'
    better = ', where less is better' if found.smaller_is_better else ''
    return [
        f'The teacher is {abs(gap):.1f} points {side} your student{better}: there is little to '
        'teach. Take a stronger teacher.'
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
    said = [
        f'Term {name} has weight 0: it teaches nothing. Give it a weight, or remove it.'
        for name in found.features
        if name not in found.gradients
    ]
    for name, term in found.gradients.items():
        if not (isfinite(term.ratio) and isfinite(term.cosine)):
            said.append(
                f"Term {name} is not finite: its gradient is {term.ratio} times the task's (cosine "
                f"{term.cosine}). Check the teacher's weights, and the student's."
            )
            continue
        if term.ratio < WEAK:
            said.append(
                f'Term {name} has hardly any effect: its gradient is {term.ratio:.3f} of the '
                "task's. Raise its weight, or set weight=dict(type='gradient_share', share=0.2)."
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
