"""The verdict on a distillation: one sentence for each thing that is wrong."""

from dataclasses import replace
from math import inf, nan

import pytest

from mmkd.analysis.feature_survey import Feature
from mmkd.analysis.readiness import Readiness, verdict
from mmkd.analysis.term_gradients import TermGradient

GOOD = Readiness(
    teacher_score=60.0,
    baseline_score=48.0,
    gradients=dict(encoder=TermGradient(1.0, 0.2, 0.3)),
    features=dict(encoder=[Feature('backbone[1]', 8, (4, 4), 8.0, 0.5)]),
    map_terms=['encoder'],
    step_ms=(100.0, 150.0),
    iterations=1000,
)
BLANK = dict(encoder=[Feature('backbone[3]', 8, (4, 4), 8.0, 0.001)])


def test_verdict_finds_no_fault_in_a_good_pair():
    assert verdict(GOOD) == ['No fault found: the teacher is ahead, and every term has an effect.']


def test_verdict_finds_no_fault_in_the_strongest_term_of_a_recipe_that_gains():
    # context_16 of efficientnet_fastscnn_pkd_camvid_new_street.py.
    strong = replace(GOOD, gradients=dict(encoder=TermGradient(1.0, 6.3, 0.09)))
    assert verdict(strong)[0].startswith('No fault found')


def test_verdict_of_a_smaller_score_that_is_the_better_one():
    found = replace(GOOD, teacher_score=40.0, smaller_is_better=True)
    assert verdict(found) == ['No fault found: the teacher is ahead, and every term has an effect.']


def test_verdict_of_a_teacher_without_score_claims_no_lead():
    found = replace(GOOD, teacher_score=None, baseline_score=None)
    assert verdict(found) == ['No fault found: every term has an effect.']


@pytest.mark.parametrize(
    'change, start',
    [
        (dict(baseline_score=59.0), 'The teacher is 1.0 points above your student'),
        (dict(baseline_score=63.0), 'The teacher is 3.0 points below your student'),
        (dict(baseline_score=None), "The baseline's score is not known"),
        (dict(teacher_score=nan), 'The score of the teacher is nan, so the gap'),
        (dict(baseline_score=nan), 'The score of the student is nan, so the gap'),
        (dict(teacher_score=nan, baseline_score=None), 'The score of the teacher is nan'),
        (
            dict(smaller_is_better=True),
            'The teacher is 12.0 points above your student, where less is better: there is little',
        ),
        (dict(gradients={}), 'Term encoder has weight 0: it teaches nothing. Give it a weight'),
        (dict(gradients=dict(encoder=TermGradient(1, 0.2, nan))), 'Term encoder is not finite'),
        (dict(features=BLANK), 'Term encoder compares attention maps, and the map of backbone[3]'),
        (
            dict(gradients=dict(encoder=TermGradient(1, 0.01, 0.3))),
            'Term encoder has hardly any effect',
        ),
        (dict(gradients=dict(encoder=TermGradient(1, 12.5, 0.3))), 'Term encoder outweighs'),
        (dict(gradients=dict(encoder=TermGradient(1, 0.2, -0.5))), 'Term encoder works against'),
        (dict(gradients=dict(encoder=TermGradient(nan, nan, nan))), 'Term encoder is not finite'),
        (dict(gradients=dict(encoder=TermGradient(1, inf, nan))), 'Term encoder is not finite'),
    ],
)
def test_verdict_names_each_fault(change, start):
    said = verdict(replace(GOOD, **change))
    assert len(said) == 1 and said[0].startswith(start)


def test_verdict_blank_feature_of_a_feature_term_is_no_fault():
    assert verdict(replace(GOOD, features=BLANK, map_terms=[]))[0].startswith('No fault')
