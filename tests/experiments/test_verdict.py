import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkd.experiments.report.page import render
from mmkd.experiments.report.tables import results_section
from mmkd.experiments.summary import summarise
from mmkd.experiments.tables import to_csv, to_markdown
from mmkd.experiments.verdict import Gain, gain, gain_at_equal_time, refusals

SETUP = dict(student='fast_scnn', length='20 iterations', batch_size='8')


def of(*differences: float) -> Gain:
    return Gain('alone', dict(enumerate(differences)), 1.0)


@pytest.mark.parametrize(
    'differences, half',
    [  # 97.5 % points of Student's t, from a printed table
        ((1.0, 3.0), 12.706 * math.sqrt(2) / math.sqrt(2)),
        ((1.0, 3.0, 5.0), 4.303 * 2 / math.sqrt(3)),
        ((2.0, 2.0, 2.0, 6.0), 3.182 * 2 / math.sqrt(4)),
    ],
)
def test_gain_interval_equals_students_t(differences, half):
    low, high = of(*differences).interval
    mean = sum(differences) / len(differences)
    assert (low, high) == (
        pytest.approx(mean - half, abs=2e-3),
        pytest.approx(mean + half, abs=2e-3),
    )


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6), st.floats(-10, 10))
def test_gain_interval_shifts_with_scores(differences, shift):
    low, high = of(*differences).interval
    moved = of(*(d + shift for d in differences)).interval
    assert moved == (pytest.approx(low + shift, abs=1e-6), pytest.approx(high + shift, abs=1e-6))


@pytest.mark.parametrize(
    'differences, threshold, verdict',
    [
        ((3.0, 3.5, 4.0), 3.0, 'GO'),  # mean 3.5, interval above 0
        ((3.0, 3.5, 4.0), 3.6, 'INCONCLUSIVE'),  # a gain, smaller than asked for
        ((0.0, 3.5, 7.0), 3.0, 'INCONCLUSIVE'),  # enough in the mean, but the interval holds 0
        ((-1.0, 0.0, 1.5), 3.0, 'NO-GO'),  # too little, and the interval holds 0
        ((-3.0, -3.5, -4.0), 3.0, 'NO-GO'),  # a loss
        ((0.0, 0.0, 0.0), 0.0, 'INCONCLUSIVE'),  # enough for no threshold, but no gain
        ((9.0,), 3.0, 'INCONCLUSIVE'),  # one seed has no interval
    ],
)
def test_gain_verdict_follows_interval(differences, threshold, verdict):
    assert of(*differences).verdict(threshold) == verdict


def test_gain_verdict_of_a_mean_at_the_threshold_is_go():
    """Its sum is below in binary: 0.01999999999999998."""
    baseline, distilled = (0.552, 0.48, 0.49), (0.573, 0.498, 0.511)
    differences = [d - b for b, d in zip(baseline, distilled, strict=True)]
    assert sum(differences) / 3 < 0.02
    assert of(*differences).verdict(0.02) == 'GO'


def test_gain_pairs_the_seeds(finished_run):
    runs = [finished_run('alone', s, v, distilled=False) for s, v in ((0, 40.0), (1, 50.0))]
    runs += [finished_run('kd', s, v) for s, v in ((1, 53.0), (2, 99.0), (0, 41.0))]
    summaries = summarise(runs)
    assert gain(summaries[0], summaries) is None
    assert gain(summaries[1], summaries).differences == {0: 1.0, 1: 3.0}


def test_gain_without_a_common_seed_is_none(finished_run):
    summaries = summarise(
        [finished_run('alone', 0, 40.0, distilled=False), finished_run('kd', 1, 9)]
    )
    assert gain(summaries[1], summaries) is None


def longer(finished_run, name: str, step_seconds: float, score: float, seed: int = 0):
    """An undistilled run of three validations, thirty iterations, instead of two."""
    setup = SETUP | dict(length='30 iterations')
    return finished_run(
        name,
        seed,
        0.0,
        0.0,
        score,
        distilled=False,
        comparable='t',
        step_seconds=step_seconds,
        **setup,
    )


def test_gain_at_equal_time_is_over_the_best_that_trained_as_long(finished_run):
    runs = [
        finished_run('alone', 0, 0.0, 40.0, distilled=False, step_seconds=0.4, **SETUP),
        longer(finished_run, 'alone_x1.5', 0.4, 41.0),
        longer(finished_run, 'slow_x1.5', 0.41, 40.5),
        longer(finished_run, 'short_x1.5', 0.3, 42.5),
        finished_run('kd', 0, 0.0, 43.0, step_seconds=0.6, **SETUP),
    ]
    summaries = summarise(runs)
    kd = summaries[-1]
    assert gain(kd, summaries).mean == 3.0
    found = gain_at_equal_time(kd, summaries)
    assert (found.baseline, found.mean, found.time_ratio) == ('alone_x1.5', 2.0, pytest.approx(1))
    assert refusals(kd, summaries) == [
        'kd with short_x1.5 at equal time: it trained 0.75 times as long'
    ]
    assert '| +2.00 |  | INCONCLUSIVE |' in to_markdown(summaries)


@pytest.mark.parametrize(
    'changes, fact',
    [
        (dict(length='10 iterations'), 'length 20 iterations and 10 iterations'),
        (dict(batch_size='16'), 'batch_size 8 and 16'),
        ({'training data': 'b'}, 'other training data'),
        (dict(start='b.pth'), 'start a.pth and b.pth'),
        ({'accumulated batches': '4'}, 'accumulated batches 1 and 4'),
        ({'validation scores': 'b'}, 'other validation scores'),
    ],
)
def test_refusals_name_what_differs(finished_run, changes, fact):
    setup = SETUP | {'training data': 'a', 'start': 'a.pth', 'accumulated batches': '1'}
    setup['validation scores'] = 'a'
    runs = [
        finished_run('alone', 0, 40.0, distilled=False, comparable='t', **setup | changes),
        finished_run('other', 0, 40.0, distilled=False, comparable='t', student='vmamba'),
        finished_run('kd', 0, 0.0, 43.0, **setup),
    ]
    text = to_markdown(summarise(runs))
    assert f'Not compared: kd with alone: {fact}.' in text


def test_refusals_name_runs_without_a_common_seed(finished_run):
    runs = [finished_run('alone', 0, 40.0, distilled=False), finished_run('kd', 1, 43.0)]
    assert 'Not compared: kd with alone: they do not have a seed in common.' in to_markdown(
        summarise(runs)
    )


def test_refusals_name_a_longer_baseline_without_a_common_seed(finished_run):
    runs = [
        finished_run('alone', 0, 0.0, 40.0, distilled=False, **SETUP),
        longer(finished_run, 'alone_x1.5', 1 / 3, 41.0, seed=1),
        finished_run('kd', 0, 0.0, 43.0, **SETUP),
    ]
    summaries = summarise(runs)
    assert refusals(summaries[-1], summaries) == [
        'kd with alone_x1.5 at equal time: they do not have a seed in common'
    ]


def test_refusals_of_runs_with_baseline_are_empty(finished_run):
    runs = [
        finished_run('alone', 0, 40.0, 41.0, distilled=False, **SETUP),
        finished_run(
            'small', 0, 39.0, 41.0, distilled=False, comparable='t', **SETUP | dict(batch_size='4')
        ),
        finished_run('kd', 0, 0.0, 43.0, **SETUP),
    ]
    summaries = summarise(runs)
    assert refusals(summaries[-1], summaries) == []


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=5), st.floats(0, 2))
def test_gain_verdict_of_loss_equals_negated_score(differences, threshold):
    by_seed = dict(enumerate(differences))
    less = Gain('alone', {seed: -d for seed, d in by_seed.items()}, 1.0, 'less')
    assert less.verdict(threshold) == Gain('alone', by_seed, 1.0).verdict(threshold)


@pytest.fixture
def run_on(finished_run):
    """A finished run whose log says on how many processes it trained; None leaves it out."""

    def make(processes, *args, **kwargs):
        run = finished_run(*args, **kwargs)
        if processes is not None:
            (folder,) = run.folder.glob('2*')
            (folder / 'train.log').write_text(f'env:\n    GPU number: {processes}\n')
        return run

    return make


@pytest.mark.parametrize('setup', [SETUP, {}])
def test_refusals_name_other_numbers_of_processes(run_on, setup):
    runs = [
        run_on(1, 'alone', 0, 0.0, 40.0, distilled=False, **setup),
        run_on(8, 'kd', 0, 0.0, 43.0, **setup),
    ]
    summaries = summarise(runs)
    assert gain(summaries[-1], summaries) is None
    line = 'Not compared: kd with alone: processes 8 and 1.'
    assert line in to_markdown(summaries)
    assert line in results_section(summaries, dict(alone='', kd=''), dict(alone=0, kd=1), {})


@pytest.mark.parametrize('processes', [(1, 1), (None, 8), (8, None), (None, None)])
def test_gain_of_equal_or_unknown_numbers_of_processes_is_taken(run_on, processes):
    runs = [
        run_on(processes[0], 'alone', 0, 40.0, distilled=False),
        run_on(processes[1], 'kd', 0, 43.0),
    ]
    summaries = summarise(runs)
    assert gain(summaries[-1], summaries).mean == 3.0
    assert refusals(summaries[-1], summaries) == []


def test_gain_at_equal_time_with_other_processes_is_refused(run_on):
    runs = [
        run_on(1, 'alone', 0, 0.0, 40.0, distilled=False, **SETUP),
        longer(partial(run_on, 4), 'alone_x1.5', 2 / 6, 41.0),
        run_on(1, 'kd', 0, 0.0, 43.0, **SETUP),
    ]
    summaries = summarise(runs)
    kd = summaries[-1]
    assert gain(kd, summaries).mean == 3.0
    assert gain_at_equal_time(kd, summaries) is None
    assert refusals(kd, summaries) == ['kd with alone_x1.5 at equal time: processes 1 and 4']


@pytest.fixture
def partly_paired(finished_run, unfinished):
    """Three finished seeds and an unfinished one, of which the baseline has two."""
    runs = [finished_run('alone', s, 0.0, v, distilled=False) for s, v in ((0, 40.0), (2, 41.0))]
    runs += [finished_run('kd', s, 0.0, v) for s, v in ((0, 43.0), (1, 10.0), (2, 44.5))]
    return [*runs, unfinished('kd', 3)]


def test_gain_of_some_seeds_says_how_many(partly_paired):
    summaries = summarise(partly_paired)
    found = gain(summaries[-1], summaries)
    assert (found.differences, found.unpaired) == ({0: 3.0, 2: 3.5}, (1, 3))
    assert (found.verdict(0.0), found.stated(0.0)) == ('GO', 'GO (2 of 4 seeds)')
    assert Gain('alone', {0: 3.0, 2: 3.5}, 1.0).stated(0.0) == 'GO'


def test_tables_name_seeds_that_a_gain_leaves_out(partly_paired):
    summaries = summarise(partly_paired)
    note = 'Without a finished run of that seed in the baseline: kd with alone seed 1.'
    text = to_markdown(summaries)
    assert '| GO (2 of 4 seeds) |' in text and note in text
    assert to_csv(partly_paired).splitlines()[-1].endswith(',GO (2 of 4 seeds)')
    page = render('', summaries, {}, {}, [], {})
    assert page.count('2 of 4 seeds') == 2 and note in page  # in the tile and in the table
    paired = [run for run in partly_paired if run.seed in (0, 2)]
    assert 'of 2 seeds' not in to_markdown(summarise(paired))


def test_tables_name_seeds_without_a_longer_baseline(finished_run):
    runs = [
        *(finished_run('alone', s, 0.0, 40.0, distilled=False, **SETUP) for s in (0, 1)),
        longer(finished_run, 'alone_x1.5', 1 / 3, 41.0),
        *(finished_run('kd', s, 0.0, 43.0, **SETUP) for s in (0, 1)),
    ]
    text = to_markdown(summarise(runs))
    assert '| INCONCLUSIVE (1 of 2 seeds) |' in text
    assert 'in the baseline: kd with alone_x1.5 seed 1.' in text


def test_gain_at_equal_time_is_over_the_baseline_with_the_most_seeds(finished_run):
    step = 1 / 3
    runs = [
        longer(finished_run, 'best_x1.5', step, 42.0),  # its second seed still trains
        *(longer(finished_run, 'better_x1.5', step, 41.5, seed) for seed in (0, 1)),
        *(longer(finished_run, 'alone_x1.5', step, 41.0, seed) for seed in (0, 1)),
        *(finished_run('kd', seed, 0.0, 43.0, **SETUP) for seed in (0, 1)),
    ]
    summaries = summarise(runs)
    found = gain_at_equal_time(summaries[-1], summaries)
    assert (found.baseline, found.differences) == ('better_x1.5', {0: 1.5, 1: 1.5})


@pytest.mark.parametrize('unknown', [('kd',), ('alone_x1.5',), ('kd', 'alone_x1.5')])
def test_refusals_name_runs_without_a_step_time(finished_run, unknown):
    seconds = {name: math.nan if name in unknown else 1 / 3 for name in ('kd', 'alone_x1.5')}
    runs = [
        finished_run('alone', 0, 0.0, 40.0, distilled=False, **SETUP),
        longer(finished_run, 'alone_x1.5', seconds['alone_x1.5'], 41.0),
        finished_run('kd', 0, 0.0, 43.0, step_seconds=seconds['kd'], **SETUP),
    ]
    summaries = summarise(runs)
    assert refusals(summaries[-1], summaries) == [
        f'kd with alone_x1.5 at equal time: the step time of {" and ".join(unknown)} is not '
        'logged; lower default_hooks.logger.interval'
    ]
