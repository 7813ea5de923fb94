import csv
import io
import math
from dataclasses import replace

import pytest

from mmkd.experiments.plots import curves, score_bars, to_png
from mmkd.experiments.summary import baseline, by_metric, other_metrics, summarise
from mmkd.experiments.tables import to_csv, to_markdown


def cells(table: str) -> dict[str, list[str]]:
    rows = [
        [c.strip() for c in line.strip('|').split('|')]
        for line in table.splitlines()
        if '|' in line
    ]
    return {row[0]: row[1:] for row in rows}


def test_summarise_seeds_gives_mean_std_and_difference(finished_run):
    runs = [
        finished_run('alone', 0, 39.0, 40.0, distilled=False),
        finished_run('alone', 1, 45.0, 42.0, distilled=False),
        finished_run('kd', 0, 1.0, 43.0),
        finished_run('kd', 1, 1.0, 45.0),
        finished_run('kd', 2, 1.0, 50.0),
    ]
    table = cells(to_markdown(summarise(runs)))
    # alone: 40 and 42 last, 40 and 45 best; kd: 43, 45, 50: mean 46, deviation sqrt(13)
    assert table['alone'] == [
        '41.00 ± 1.41',
        *[''] * 6,
        '42.50',
        '2',
        '20 iterations',
        '500',
        '0:00:10',
    ]
    # seeds 0 and 1 gain 3 each; seed 2 has no baseline
    gain = ['+3.00', '+3.00 to +3.00', 'GO (2 of 3 seeds)', '', '', '']
    assert table['kd'] == ['46.00 ± 3.61', *gain, '46.00', '3', '20 iterations', '500', '0:00:10']


def test_summarise_one_seed_has_no_std(finished_run):
    assert cells(to_markdown(summarise([finished_run('kd', 0, 43.0)])))['kd'][0] == '43.00'


def test_baseline_of_incomparable_runs_is_none(finished_run):
    alone = finished_run('alone', 0, 40.0, 40.0, distilled=False)
    other = finished_run('other', 0, 40.0, 40.0, distilled=False, comparable='t')
    kd = finished_run('kd', 0, 43.0, 43.0)
    summaries = summarise([other, kd])
    assert baseline(summaries[-1], summaries) is None
    summaries = summarise([other, kd, alone])
    assert baseline(summaries[-1], summaries).name == 'alone'


def test_summarise_two_ablations_are_told_apart(finished_run):
    runs = [
        finished_run(f'{folder}/kd', seed, score)
        for folder, seed, score in (('a', 0, 40.0), ('a', 1, 42.0), ('b', 0, 10.0))
    ]
    table = cells(to_markdown(summarise([*runs, finished_run('b/at', 0, 5.0)])))
    assert table['a/kd'][0] == '41.00 ± 1.41'
    assert table['b/kd'][0] == '10.00'
    assert table['at'][0] == '5.00'


def test_baseline_of_several_is_the_best(finished_run):
    slow, fast = (
        finished_run(name, 0, 0.0, score, distilled=False)
        for name, score in (('lr_3e-3', 41.0), ('lr_1e-3', 40.0))
    )
    summaries = summarise([fast, slow, finished_run('kd', 0, 0.0, 43.0)])
    assert baseline(summaries[-1], summaries).name == 'lr_3e-3'
    assert cells(to_markdown(summaries))['kd'][1] == '+2.00'


def test_baseline_is_chosen_on_the_seeds_that_are_compared(finished_run):
    scores = dict(alone={0: 40.0, 1: 41.0}, alone_fast={0: 30.0, 1: 30.5, 2: 60.0, 3: 61.0})
    runs = [
        finished_run(name, seed, 0.0, score, distilled=False)
        for name, of_seeds in scores.items()
        for seed, score in of_seeds.items()
    ]
    runs += [finished_run('kd', seed, 0.0, score) for seed, score in ((0, 42.0), (1, 43.5))]
    summaries = summarise(runs)
    assert baseline(summaries[-1], summaries).name == 'alone'
    assert cells(to_markdown(summaries))['kd'][1] == '+2.25'


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_tables_leave_out_and_name_a_score_that_is_not_finite(finished_run, value):
    runs = [
        finished_run(name, seed, score, distilled=name == 'kd')
        for name, seed, score in (
            ('alone', 0, value), ('alone', 1, 41.0), ('kd', 0, 42.0), ('kd', 1, 43.0)
        )
    ]  # fmt: skip
    text = to_markdown(summarise(runs))
    assert cells(text)['alone'][0] == '41.00'
    assert cells(text)['kd'][1] == '+2.00'
    assert 'With a score that is not finite, and not included: alone seed 0.' in text
    rows = list(csv.DictReader(io.StringIO(to_csv(runs))))
    assert [row['status'] for row in rows] == ['not finite', *['finished'] * 3]
    assert rows[0]['last'] == f'{value:.4f}'
    assert to_png(score_bars(summarise(runs))).startswith(b'\x89PNG')


def test_summarise_unfinished_run_is_named_and_not_counted(finished_run, unfinished):
    runs = [finished_run('kd', 0, 43.0), unfinished('kd', 1), unfinished('at', 0)]
    text = to_markdown(summarise(runs))
    assert cells(text)['kd'][0] == '43.00'
    assert cells(text)['at'][0] == '–'
    assert 'Not finished, and not included: at seed 0, kd seed 1.' in text


def test_to_csv_has_a_line_for_each_run(finished_run, unfinished):
    runs = [finished_run('kd', 3, 41.5, 43.25, 42.125), unfinished('kd', 4)]
    rows = list(csv.DictReader(io.StringIO(to_csv(runs))))
    assert [row['seed'] for row in rows] == ['3', '4']
    assert (rows[0]['last'], rows[0]['best'], rows[0]['step_ms']) == ('42.1250', '43.2500', '500')
    assert (rows[1]['last'], rows[1]['status']) == ('', 'unfinished')
    assert rows[0]['commit'] == 'abc'


def test_to_csv_has_gain_of_seed_and_config(finished_run):
    runs = [finished_run('alone', seed, 40.0, distilled=False) for seed in range(3)]
    runs += [finished_run('kd', seed, score) for seed, score in enumerate((41.0, 43.0, 45.0))]
    rows = list(csv.DictReader(io.StringIO(to_csv(runs, threshold=2.0))))
    assert rows[0]['baseline'] == rows[0]['mean_difference'] == rows[0]['verdict'] == ''
    assert [row['difference'] for row in rows[3:]] == ['1.0000', '3.0000', '5.0000']
    # mean 3, deviation 2; the 97.5 % point of Student's t for two degrees of freedom is 4.3027
    expected = dict(baseline='alone', mean_difference='3.0000', low='-1.9683', high='7.9683')
    assert rows[3].items() >= (expected | dict(verdict='INCONCLUSIVE')).items()


def test_to_markdown_class_scores_have_mean_and_std(finished_run):
    kd = {'sky': {0: 90.0, 1: 92.0}, 'pole': {0: 10.0, 1: 10.0}}
    scores = {'kd': kd, 'alone': {'sky': {0: 88.0}}}
    table = cells(to_markdown(summarise([finished_run('kd', 0, 1.0)]), scores).split('\n\n')[1])
    assert table['kd'] == ['91.00 ± 1.41', '10.00 ± 0.00']
    assert table['alone'] == ['88.00', '–']


@pytest.mark.parametrize('runs', [[], None])
def test_to_markdown_without_finished_runs_is_a_table(unfinished, runs):
    summaries = summarise([unfinished('kd', 0)] if runs is None else runs)
    assert to_markdown(summaries).startswith('| config |')


def test_decimals_of_fractions_are_three(finished_run):
    runs = [finished_run('alone', 0, 0.412, distilled=False), finished_run('frs', 0, 0.4346)]
    table = cells(to_markdown(summarise(runs)))
    assert table['alone'][0] == '0.412'
    assert table['frs'][:3] == ['0.435', '+0.023', '']
    assert table['frs'][7] == '0.435'


def test_decimals_of_per_cent_below_one_are_two(finished_run):
    runs = [finished_run('alone', 0, 2.34, distilled=False), finished_run('kd', 0, 0.86)]
    table = cells(to_markdown(summarise(runs)))
    assert table['kd'][:2] == ['0.86', '-1.48'] and table['kd'][7] == '0.86'


def test_baseline_by_loss_is_the_smallest(finished_run):
    def less(run):
        return replace(run, rule='less', metric='mIoU')

    runs = [
        less(finished_run('alone_a', 0, 5.0, 4.0, distilled=False)),
        less(finished_run('alone_b', 0, 2.0, 3.0, distilled=False)),
        less(finished_run('kd', 0, 1.0, 2.0)),
    ]
    summaries = summarise(runs)
    assert [s.best for s in summaries] == [(4.0,), (2.0,), (1.0,)]
    assert baseline(summaries[2], summaries).name == 'alone_b'
    rows = list(csv.DictReader(io.StringIO(to_csv(runs))))
    assert [row['best'] for row in rows] == ['4.0000', '2.0000', '1.0000']


def test_tables_name_skipped_steps(finished_run):
    run = finished_run('kd', 0, 43.0, 44.0)
    (log,) = run.folder.glob('*/vis_data/scalars.json')
    log.write_text(log.read_text() + '\n{"mIoU": 45.0, "step": 30, "skipped_steps": 7}')
    (row,) = csv.DictReader(io.StringIO(to_csv([run])))
    assert row['status'] == 'finished, 7 steps skipped'
    assert 'not finite: kd 7.' in to_markdown(summarise([run]))


def test_to_markdown_class_mean_ignores_seeds_without_the_class(finished_run):
    runs = [finished_run('kd', seed, 43.0) for seed in (0, 1)]
    nan = float('nan')
    kd = dict(a={0: nan, 1: nan}, b={0: nan, 1: 40.0}, c={0: 30.0, 1: 40.0})
    scores = dict(kd=kd)
    table = to_markdown(summarise(runs), scores)
    assert '| kd | – | 40.00 | 35.00 ± 7.07 |' in table


@pytest.fixture
def two_sets(finished_run):
    """Runs whose two validations report val/mIoU, unseen/mIoU and val/mAcc."""

    def make(name, seed, val, unseen, **kwargs):
        run = finished_run(name, seed, val, val, **kwargs)
        (log,) = run.folder.glob('*/vis_data/scalars.json')
        both = f'"val/mIoU": {val}, "val/mAcc": 70.0, "unseen/mIoU": {unseen}'
        log.write_text(log.read_text().replace(f'"mIoU": {val}', both))
        return replace(run, metric='val/mIoU')

    return make


@pytest.fixture
def ablation(two_sets):
    return [
        *(two_sets('alone', seed, 50.0, 30.0 + seed, distilled=False) for seed in range(3)),
        *(two_sets('kd', seed, 49.0 + seed, 32.0 + seed) for seed in range(3)),
    ]


def test_by_metric_gives_the_same_metric_of_other_sets(ablation):
    assert other_metrics(ablation) == ['unseen/mIoU']
    own, unseen = by_metric(ablation)
    assert own == ablation
    tables = [cells(to_markdown(summarise(runs), threshold=1.0)) for runs in (own, unseen)]
    # val: differences -1, 0, 1, whose interval reaches below 0; unseen: 2 with each seed
    assert tables[0]['kd'][1:4] == ['+0.00', '-2.48 to +2.48', 'NO-GO']
    assert tables[1]['kd'][1:4] == ['+2.00', '+2.00 to +2.00', 'GO']
    assert list(tables[0])[0] == list(tables[1])[0] == 'config'
    assert tables[1]['config'][0] == 'unseen/mIoU, last'


def test_by_metric_leaves_out_a_finished_run_without_the_other_set(
    finished_run, two_sets, unfinished
):
    of_one_set = finished_run('alone', 0, 50.0, distilled=False)
    (log,) = of_one_set.folder.glob('*/vis_data/scalars.json')
    log.write_text(log.read_text().replace('"mIoU"', '"val/mIoU"'))
    runs = [replace(of_one_set, metric='val/mIoU'), two_sets('kd', 0, 49.0, 32.0)]
    runs.append(replace(unfinished('kd', 1), metric='val/mIoU'))
    own, unseen = by_metric(runs)
    assert own == runs
    assert [(run.name, run.seed) for run in unseen] == [('kd', 0), ('kd', 1)]
    assert 'Not finished, and not included: kd seed 1.' in to_markdown(summarise(unseen))


def test_to_csv_has_a_line_for_each_run_and_set(ablation):
    rows = list(csv.DictReader(io.StringIO(to_csv(ablation))))
    assert [row['metric'] for row in rows] == ['val/mIoU'] * 6 + ['unseen/mIoU'] * 6
    assert [row['difference'] for row in rows[9:]] == ['2.0000'] * 3
    assert [row['verdict'] for row in rows[3:6]] == ['INCONCLUSIVE'] * 3


def test_curves_show_each_set(ablation):
    panels = {axes.get_title(): axes for axes in curves(summarise(ablation)).axes}
    shown = [list(line.get_ydata()) for line in panels['unseen/mIoU'].lines]
    assert shown == [[30.0, 30.0], [32.0, 32.0]]
    assert [list(line.get_ydata()) for line in panels['score'].lines] == [[50.0] * 2, [49.0] * 2]


def test_by_metric_of_one_set_is_the_runs(finished_run):
    run = finished_run('kd', 0, 40.0)
    assert by_metric([run]) == [[run]]
    assert other_metrics([replace(run, metric='coco/bbox_mAP')]) == []
