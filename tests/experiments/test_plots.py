from dataclasses import replace

import pytest

from mmkd.experiments.plots import class_differences, curves, score_bars, to_png
from mmkd.experiments.summary import summarise


@pytest.fixture
def summaries(finished_run):
    return summarise([
        finished_run('alone', 0, 30.0, 40.0, distilled=False),
        finished_run('alone', 1, 30.0, 42.0, distilled=False),
        finished_run('kd', 0, 20.0, 43.0),
    ])  # fmt: skip


def test_score_bars_show_mean_and_baseline(summaries):
    axes = score_bars(summaries).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [43.0, 41.0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ['kd', 'alone']
    (whisker,) = [c for c in axes.containers if hasattr(c, 'errorbar') and c.errorbar]
    (segment,) = whisker.errorbar.lines[2][0].get_segments()
    assert segment[:, 0] == pytest.approx([41 - 2**0.5, 41 + 2**0.5])
    dashed = [line for line in axes.lines if line.get_linestyle() == '--']
    assert [line.get_xdata()[0] for line in dashed] == [41.0]


def test_curves_show_scores_losses_and_weights(summaries):
    panels = {axes.get_title(): axes for axes in curves(summaries).axes if axes.get_title()}
    assert set(panels) == {'score', 'task loss', 'distill.encoder', 'weight.encoder'}
    lines = {t: [list(zip(*line.get_data())) for line in a.lines] for t, a in panels.items()}  # noqa: B905
    assert lines['score'] == [[(10, 30.0), (20, 40.0)], [(10, 20.0), (20, 43.0)]]
    assert lines['task loss'] == [[(10, 3.0), (20, 3.0)], [(10, 2.0), (20, 2.0)]]
    assert lines['distill.encoder'] == [[(10, 1.0), (20, 1.0)]]
    assert lines['weight.encoder'] == [[(10, 0.5), (20, 0.5)]]


def test_plots_without_runs_are_empty(unfinished):
    summaries = summarise([unfinished('kd', 0)])
    assert to_png(score_bars(summaries)).startswith(b'\x89PNG')
    assert to_png(curves([])).startswith(b'\x89PNG')


def test_score_bars_nan_score_leaves_other_bars(finished_run):
    nan = float('nan')
    axes = score_bars(summarise([finished_run('kd', 0, nan), finished_run('at', 0, 40.0)])).axes[0]
    assert axes.get_xlim() == (39.5, 40.5)


@pytest.mark.parametrize(
    'scores, limits',
    [
        ((40.0, 50.0), (38.5, 51.5)),
        ((0.3, 0.4), (0.285, 0.415)),  # fractions
        ((-5.0, -4.0), (-5.15, -3.85)),
        ((-1.0, 3.0), (-1.6, 3.6)),
        ((0.1, 10.1), (0.0, 11.6)),  # no axis below 0 for scores that are not
        ((0.0, 0.0), (0.0, 0.5)),
    ],
)
def test_score_bars_zoom_in_on_the_scores(finished_run, scores, limits):
    runs = [finished_run(name, 0, score) for name, score in zip('ab', scores, strict=True)]
    assert score_bars(summarise(runs)).axes[0].get_xlim() == pytest.approx(limits)


def test_class_differences_are_paired_means_by_dataset(finished_run):
    runs = [finished_run('alone', 0, 1.0, distilled=False)]
    runs += [finished_run('kd', seed, 1.0) for seed in (0, 1)]
    summaries = [
        replace(s, runs=tuple(replace(run, metric='val/mIoU') for run in s.runs))
        for s in summarise(runs)
    ]
    scores = {
        'alone': {'val/sky': {0: 80.0}, 'new/sky': {0: 70.0}, 'val/n/a': {0: float('nan')}},
        'kd': {
            'val/sky': {0: 83.0, 1: 99.0},
            'new/sky': {0: 68.0},
            'val/n/a': {0: float('nan')},
            'val/pole': {0: 9.0},  # the baseline does not have it
        },
    }
    panels = class_differences(summaries, scores).axes
    shown = {a.get_title().rsplit(', ')[-1]: [b.get_width() for b in a.patches] for a in panels}
    assert shown == {'val': [3.0], 'new': [-2.0]}
    assert [t.get_text() for t in panels[0].get_yticklabels()] == ['sky']


def test_class_differences_have_a_row_per_distilled_config(finished_run):
    runs = [finished_run('alone', seed, 1.0, distilled=False) for seed in (0, 1)]
    runs += [finished_run(name, seed, 1.0) for name in ('at', 'kd') for seed in (0, 1)]
    scores = {
        'alone': {'car/van': {0: 10.0, 1: 20.0}},
        'at': {'car/van': {0: 11.0, 1: 23.0}},
        'kd': {'car/van': {0: 10.0, 1: 10.0}},
    }
    rows = class_differences(summarise(runs), scores).axes
    assert [axes.patches[0].get_width() for axes in rows] == [2.0, -5.0]
    assert [list(axes.lines[0].get_xdata()) for axes in rows] == [[1.0, 3.0], [0.0, -10.0]]
    assert rows[0].get_yticklabels()[0].get_text() == 'car/van'


def test_class_differences_without_a_baseline_are_empty(finished_run):
    figure = class_differences(summarise([finished_run('kd', 0, 1.0)]), {'kd': {'sky': {0: 1.0}}})
    assert to_png(figure).startswith(b'\x89PNG')
