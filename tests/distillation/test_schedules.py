import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkd.distillation.schedules import SCHEDULES, build_schedule
from mmkd.errors import UserError

TIMES = st.integers(0, 10**7)


def config(name, begin, length):
    if name == 'constant':
        return dict(type=name)
    if name == 'step_off':
        return dict(type=name, at=begin)
    return dict(type=name, begin=begin, end=begin + length)


@pytest.mark.parametrize(
    'schedule, factors',
    [
        (dict(type='constant'), {0: 1, 9: 1}),
        (dict(type='linear_warmup', begin=2, end=6), {0: 0, 2: 0, 3: 0.25, 5: 0.75, 6: 1, 9: 1}),
        (dict(type='linear_decay', begin=2, end=6), {0: 1, 2: 1, 3: 0.75, 5: 0.25, 6: 0, 9: 0}),
        (
            dict(type='cosine_decay', begin=2, end=6),
            {0: 1, 2: 1, 3: (1 + math.sqrt(0.5)) / 2, 4: 0.5, 6: 0, 9: 0},
        ),
        (dict(type='step_off', at=4), {0: 1, 3: 1, 4: 0, 9: 0}),
    ],
)
def test_build_schedule_factors_equal_hand_values(schedule, factors):
    built = build_schedule(schedule)
    assert {t: built(t) for t in factors} == pytest.approx(factors, abs=1e-12)


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(0, 10**6), st.integers(1, 10**6), TIMES)
def test_build_schedule_any_iteration_factor_is_in_unit_interval(name, begin, length, t):
    assert 0 <= build_schedule(config(name, begin, length))(t) <= 1


@given(st.integers(0, 10**6), st.integers(1, 10**6), TIMES)
def test_schedule_warmup_plus_decay_is_one(begin, length, t):
    up, down = (build_schedule(config(n, begin, length)) for n in ('linear_warmup', 'linear_decay'))
    assert up(t) + down(t) == pytest.approx(1)


@pytest.mark.parametrize(
    'schedule, message',
    [
        ({}, 'schedule.type=None: expected one of constant'),
        (dict(type='linear'), "schedule.type='linear'"),
        (dict(type='constant', at=1), 'constant. with at: expected nothing'),
        (dict(type='linear_warmup', end=5), 'linear_warmup. with end: expected begin, end'),
        (dict(type='step_off', at=-1), 'schedule.at=-1'),
        (dict(type='step_off', at=1.5), 'schedule.at=1.5'),
        (dict(type='step_off', at=True), 'schedule.at=True'),
        (dict(type='cosine_decay', begin=5, end=5), 'schedule.end=5: expected a number > 5'),
    ],
)
def test_build_schedule_bad_config_raises_user_error(schedule, message):
    with pytest.raises(UserError, match=message):
        build_schedule(schedule)
