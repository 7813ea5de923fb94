"""An ablation's results: per run as CSV, per config as a Markdown table."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from mmkd.ablation.queue import is_finished
from mmkd.ablation.runs import Run, by_config
from mmkd.run_record import read_record

_COLUMNS = (
    'config', 'seed', 'metric', 'last', 'best', 'status', 'length', 'step_ms', 'options', 'commit'
)  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """One config's results over its seeds.

    ``last`` and ``best`` hold a score a finished run: of the last validation, and of the best.
    """

    name: str
    runs: tuple[Run, ...]
    last: tuple[float, ...]
    best: tuple[float, ...]
    step_ms: float | None
    unfinished: tuple[int, ...]

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.seed not in self.unfinished)


def summarise(runs: Sequence[Run]) -> list[Summary]:
    """One summary a config, the undistilled ones first, then by name."""
    runs = sorted(runs, key=lambda r: (r.distilled, r.name, r.seed))
    return [_summary(name, seeds) for name, seeds in by_config(runs).items()]


def baseline(summary: Summary, summaries: Sequence[Summary]) -> Summary | None:
    """The undistilled training of the same student from the same start, data and length, if any.

    Of several, such as with other learning rates, it is the best: a gain over less is none.
    """
    first = summary.runs[0]
    candidates = [
        other
        for other in summaries
        if first.distilled
        and not other.runs[0].distilled
        and other.runs[0].comparable == first.comparable
        and other.last
    ]
    return max(candidates, key=lambda other: mean(other.last), default=None)


def difference(summary: Summary, summaries: Sequence[Summary]) -> float | None:
    """Points over the student alone; None where there is none."""
    alone = baseline(summary, summaries)
    return mean(summary.last) - mean(alone.last) if alone and summary.last else None


def decimals(summary: Summary, summaries: Sequence[Summary]) -> int:
    """How many decimals tell the scores of its metric apart.

    MMDetection's are fractions, MMSegmentation's per cent: a network that has learnt nothing may
    have less than one of these, so that all of the metric's scores decide.
    """
    metric = summary.runs[0].metric
    scores = [v for other in summaries if other.runs[0].metric == metric for v in other.best]
    return 2 if any(score > 1 for score in scores) else 3


def spread(values: Sequence[float], places: int = 2) -> str:
    """Mean and standard deviation of a score over seeds, as text."""
    if not values:
        return '–'
    if len(values) == 1:
        return f'{values[0]:.{places}f}'
    return f'{mean(values):.{places}f} ± {stdev(values):.{places}f}'


def to_csv(runs: Sequence[Run]) -> str:
    """A line for each run, unfinished ones too."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(_COLUMNS)
    for run in runs:
        record = read_record(run.folder)
        scores = [value for _, value in record.scores(run.metric)]
        finished = is_finished(run)
        writer.writerow([
            run.name, run.seed, run.metric,
            f'{scores[-1]:.4f}' if finished else '',
            f'{max(scores):.4f}' if finished else '',
            'finished' if finished else 'unfinished',
            f'{run.length} {"epochs" if run.by_epoch else "iterations"}',
            f'{record.step_time * 1e3:.0f}' if record.step_time else '',
            ' '.join(run.options), run.commit,
        ])  # fmt: skip
    return out.getvalue()


def to_markdown(
    summaries: Sequence[Summary],
    class_scores: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> str:
    """The comparison as a table, and where given a second one by class.

    Args:
        summaries: from ``summarise``.
        class_scores: values over seeds, by config and class.
    """
    metrics = ', '.join(dict.fromkeys(s.runs[0].metric for s in summaries))
    header = ['config', f'{metrics}, last', 'Δ alone', 'best', 'seeds', 'length', 'step, ms']
    rows = [_row(summary, summaries) for summary in summaries]
    text = _table(header, rows)
    unfinished = [
        f'{s.name} seed {seed}' for s in summaries for seed in s.unfinished
    ]  # fmt: skip
    if unfinished:
        text += f'\nNot finished, and not in the numbers: {", ".join(unfinished)}.\n'
    if class_scores:
        classes = list(dict.fromkeys(c for scores in class_scores.values() for c in scores))
        rows = [
            [name, *(spread(scores.get(c, ())) for c in classes)]
            for name, scores in class_scores.items()
        ]
        text += '\n' + _table(['IoU', *classes], rows)
    return text


def _summary(name: str, runs: Sequence[Run]) -> Summary:
    finished = [run for run in runs if is_finished(run)]
    records = {run: read_record(run.folder) for run in finished}
    scores = {run: [v for _, v in records[run].scores(run.metric)] for run in finished}
    times = [record.step_time for record in records.values() if record.step_time]
    return Summary(
        name=name,
        runs=tuple(runs),
        last=tuple(scores[run][-1] for run in finished),
        best=tuple(max(scores[run]) for run in finished),
        step_ms=mean(times) * 1e3 if times else None,
        unfinished=tuple(run.seed for run in runs if run not in finished),
    )


def _row(summary: Summary, summaries: Sequence[Summary]) -> list[str]:
    run = summary.runs[0]
    places = decimals(summary, summaries)
    gap = difference(summary, summaries)
    return [
        summary.name,
        spread(summary.last, places),
        '' if gap is None else f'{gap:+.{places}f}',
        f'{mean(summary.best):.{places}f}' if summary.best else '',
        str(len(summary.last)),
        f'{run.length} {"epochs" if run.by_epoch else "its"}',
        f'{summary.step_ms:.0f}' if summary.step_ms else '',
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'
