"""Write an ablation's results: per run as CSV, per config as a Markdown table."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from statistics import mean, stdev

from mmkd.experiments.queue import is_finished
from mmkd.experiments.record import load_record
from mmkd.experiments.run import Run
from mmkd.experiments.summary import Summary, by_metric, decimals, summarise
from mmkd.experiments.verdict import Gain, gain, gain_at_equal_time, refusals, unpaired_seeds

_COLUMNS = (
    'config', 'seed', 'metric', 'last', 'best', 'status', 'length', 'step_ms', 'options', 'commit',
    'baseline', 'difference', 'mean_difference', 'low', 'high', 'verdict',
)  # fmt: skip


def format_mean_std(values: Sequence[float], places: int = 2) -> str:
    """Return mean and standard deviation of a score over seeds as text, without NaN."""
    values = [value for value in values if value == value]
    if not values:
        return '–'
    if len(values) == 1:
        return f'{values[0]:.{places}f}'
    return f'{mean(values):.{places}f} ± {stdev(values):.{places}f}'


def format_interval(found: Gain, places: int = 2) -> str:
    """The 95 % interval of a gain, as text; nothing for a single seed, which has none."""
    if len(found.differences) < 2:
        return ''
    return ' to '.join(f'{end:+.{places}f}' for end in found.interval)


def to_csv(runs: Sequence[Run], threshold: float = 0.0) -> str:
    """Return one line per run and validation set, also for unfinished runs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(_COLUMNS)
    for of_one_metric in by_metric(runs):
        summaries = summarise(of_one_metric)
        gains = {run: gain(summary, summaries) for summary in summaries for run in summary.runs}
        writer.writerows(_csv_row(run, gains[run], threshold) for run in of_one_metric)
    return out.getvalue()


def _csv_row(run: Run, found: Gain | None, threshold: float) -> list:
    record = load_record(run.folder)
    scores = [value for _, value in record.scores(run.metric)]
    finished = is_finished(run)
    return [
        run.name, run.seed, run.metric,
        f'{scores[-1]:.4f}' if finished else '',
        f'{run.best(scores):.4f}' if finished else '',
        _status(finished, scores, record.skipped_steps),
        f'{run.length} {"epochs" if run.by_epoch else "iterations"}',
        f'{record.step_time * 1e3:.0f}' if record.step_time else '',
        ' '.join(run.options), run.commit, *_csv_gain(found, run.seed, threshold),
    ]  # fmt: skip


def _status(finished: bool, scores: Sequence[float], skipped: int) -> str:
    text = 'finished' if finished else 'unfinished'
    if finished and not math.isfinite(scores[-1]):
        text = 'not finite'
    return f'{text}, {skipped} steps skipped' if skipped else text


def to_markdown(
    summaries: Sequence[Summary],
    class_scores: Mapping[str, Mapping[str, Mapping[int, float]]] | None = None,
    threshold: float = 0.0,
) -> str:
    """Return the comparison as a table, and a second one by class if ``class_scores`` is given.

    Args:
        summaries: From ``summarise``.
        class_scores: Values by config, class and seed.
        threshold: Smallest gain that counts, in points.
    """
    metrics = ', '.join(dict.fromkeys(s.runs[0].metric for s in summaries))
    header = [
        'config', f'{metrics}, last', 'Δ vs. baseline', '95 % interval', 'verdict',
        'Δ at equal time', '95 % interval', 'verdict',
        'best', 'seeds', 'length', 'step, ms', 'time',
    ]  # fmt: skip
    rows = [_row(summary, summaries, threshold) for summary in summaries]
    text = _table(header, rows)
    text += ''.join(f'\n{note}.\n' for note in _notes(summaries))
    if class_scores:
        classes = list(dict.fromkeys(c for scores in class_scores.values() for c in scores))
        rows = [
            [name, *(format_mean_std([*scores.get(c, {}).values()]) for c in classes)]
            for name, scores in class_scores.items()
        ]
        text += '\n' + _table(['IoU', *classes], rows)
    return text


def _notes(summaries: Sequence[Summary]) -> list[str]:
    """Say what the table leaves out."""

    def of_all(facts: Callable[[Summary, Sequence[Summary]], list[str]]) -> list[str]:
        return [line for summary in summaries for line in facts(summary, summaries)]

    unfinished = [f'{s.name} seed {seed}' for s in summaries for seed in s.unfinished]
    not_finite = [f'{s.name} seed {seed}' for s in summaries for seed in s.not_finite]
    skipped = [f'{s.name} {s.skipped}' for s in summaries if s.skipped]
    notes = {
        'Not compared': '; '.join(of_all(refusals)),
        'Without a finished run of that seed in the baseline': '; '.join(of_all(unpaired_seeds)),
        'Not finished, and not included': ', '.join(unfinished),
        'With a score that is not finite, and not included': ', '.join(not_finite),
        'Steps skipped for gradients that are not finite': ', '.join(skipped),
    }
    return [f'{title}: {facts}' for title, facts in notes.items() if facts]


def _csv_gain(found: Gain | None, seed: int, threshold: float) -> list[str]:
    if found is None:
        return [''] * 6
    own = found.differences.get(seed)
    numbers = [own, found.mean, *found.interval]
    cells = ['' if number is None else f'{number:.4f}' for number in numbers]
    return [found.baseline, *cells, found.stated(threshold)]


def _row(summary: Summary, summaries: Sequence[Summary], threshold: float) -> list[str]:
    run = summary.runs[0]
    places = decimals(summary, summaries)
    compared = []
    for found in (gain(summary, summaries), gain_at_equal_time(summary, summaries)):
        compared += (
            [f'{found.mean:+.{places}f}', format_interval(found, places), found.stated(threshold)]
            if found
            else ['', '', '']
        )
    return [
        summary.name,
        format_mean_std(summary.last, places),
        *compared,
        f'{mean(summary.best):.{places}f}' if summary.best else '',
        str(len(summary.last)),
        f'{run.length} {"epochs" if run.by_epoch else "iterations"}',
        f'{summary.step_ms:.0f}' if summary.step_ms else '',
        str(timedelta(seconds=round(summary.train_seconds))) if summary.train_seconds else '',
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'
