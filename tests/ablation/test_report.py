import csv
import io

import pytest

from mmkd.ablation.report import baseline, summarise, to_csv, to_markdown


def cells(table: str) -> dict[str, list[str]]:
    rows = [
        [c.strip() for c in line.strip('|').split('|')]
        for line in table.splitlines()
        if '|' in line
    ]
    return {row[0]: row[1:] for row in rows}


def test_mean_spread_and_difference_over_seeds(finished_run):
    runs = [
        finished_run('alone', 0, 39.0, 40.0, distilled=False),
        finished_run('alone', 1, 45.0, 42.0, distilled=False),
        finished_run('kd', 0, 1.0, 43.0),
        finished_run('kd', 1, 1.0, 45.0),
        finished_run('kd', 2, 1.0, 50.0),
    ]
    table = cells(to_markdown(summarise(runs)))
    # alone: 40 and 42 last, 40 and 45 best; kd: 43, 45, 50: mean 46, deviation sqrt(13)
    assert table['alone'] == ['41.00 ± 1.41', '', '42.50', '2', '20 its', '500']
    assert table['kd'] == ['46.00 ± 3.61', '+5.00', '46.00', '3', '20 its', '500']


def test_one_seed_has_no_spread(finished_run):
    assert cells(to_markdown(summarise([finished_run('kd', 0, 43.0)])))['kd'][0] == '43.00'


def test_only_what_is_comparable_is_a_baseline(finished_run):
    alone = finished_run('alone', 0, 40.0, 40.0, distilled=False)
    other = finished_run('other', 0, 40.0, 40.0, distilled=False, comparable='t')
    kd = finished_run('kd', 0, 43.0, 43.0)
    summaries = summarise([other, kd])
    assert baseline(summaries[-1], summaries) is None
    summaries = summarise([other, kd, alone])
    assert baseline(summaries[-1], summaries).name == 'alone'


def test_two_ablations_are_told_apart(finished_run):
    runs = [
        finished_run(f'{folder}/kd', seed, score)
        for folder, seed, score in (('a', 0, 40.0), ('a', 1, 42.0), ('b', 0, 10.0))
    ]
    table = cells(to_markdown(summarise([*runs, finished_run('b/at', 0, 5.0)])))
    assert table['a/kd'][0] == '41.00 ± 1.41'
    assert table['b/kd'][0] == '10.00'
    assert table['at'][0] == '5.00'


def test_the_best_of_several_baselines_counts(finished_run):
    slow, fast = (
        finished_run(name, 0, 0.0, score, distilled=False)
        for name, score in (('lr_3e-3', 41.0), ('lr_1e-3', 40.0))
    )
    summaries = summarise([fast, slow, finished_run('kd', 0, 0.0, 43.0)])
    assert baseline(summaries[-1], summaries).name == 'lr_3e-3'
    assert cells(to_markdown(summaries))['kd'][1] == '+2.00'


def test_an_unfinished_run_is_named_and_not_counted(finished_run, unfinished):
    runs = [finished_run('kd', 0, 43.0), unfinished('kd', 1), unfinished('at', 0)]
    text = to_markdown(summarise(runs))
    assert cells(text)['kd'][0] == '43.00'
    assert cells(text)['at'][0] == '–'
    assert 'Not finished, and not in the numbers: at seed 0, kd seed 1.' in text


def test_csv_has_a_line_for_each_run(finished_run, unfinished):
    runs = [finished_run('kd', 3, 41.5, 43.25, 42.125), unfinished('kd', 4)]
    rows = list(csv.DictReader(io.StringIO(to_csv(runs))))
    assert [row['seed'] for row in rows] == ['3', '4']
    assert (rows[0]['last'], rows[0]['best'], rows[0]['step_ms']) == ('42.1250', '43.2500', '500')
    assert (rows[1]['last'], rows[1]['status']) == ('', 'unfinished')
    assert rows[0]['commit'] == 'abc'


def test_scores_by_class(finished_run):
    scores = {'kd': {'sky': [90.0, 92.0], 'pole': [10.0, 10.0]}, 'alone': {'sky': [88.0]}}
    table = cells(to_markdown(summarise([finished_run('kd', 0, 1.0)]), scores).split('\n\n')[1])
    assert table['kd'] == ['91.00 ± 1.41', '10.00 ± 0.00']
    assert table['alone'] == ['88.00', '–']


@pytest.mark.parametrize('runs', [[], None])
def test_nothing_finished_still_makes_a_table(unfinished, runs):
    summaries = summarise([unfinished('kd', 0)] if runs is None else runs)
    assert to_markdown(summaries).startswith('| config |')


def test_scores_that_are_fractions_keep_three_decimals(finished_run):
    runs = [finished_run('alone', 0, 0.412, distilled=False), finished_run('frs', 0, 0.4346)]
    table = cells(to_markdown(summarise(runs)))
    assert table['alone'][0] == '0.412'
    assert table['frs'][:3] == ['0.435', '+0.023', '0.435']


def test_per_cent_below_one_is_no_fraction(finished_run):
    runs = [finished_run('alone', 0, 2.34, distilled=False), finished_run('kd', 0, 0.86)]
    assert cells(to_markdown(summarise(runs)))['kd'][:3] == ['0.86', '-1.48', '0.86']
