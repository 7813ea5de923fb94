"""Summarise finished runs: one summary per config, over its seeds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from mmkd.experiments.queue import is_finished
from mmkd.experiments.record import load_record
from mmkd.experiments.run import Run, by_config


@dataclass(frozen=True)
class Summary:
    """The results of one config over its seeds.

    ``last`` and ``best`` have one score per finished run: of the last and of the best validation.
    A run whose last score is NaN or infinite does not count as finished.
    """

    name: str
    runs: tuple[Run, ...]
    last: tuple[float, ...]
    best: tuple[float, ...]
    step_ms: float | None
    train_seconds: float | None
    unfinished: tuple[int, ...]
    not_finite: tuple[int, ...] = ()
    """Seeds whose last score is NaN or infinite."""
    skipped: int = 0
    """Steps of the finished runs that were left out, as their gradients were not finite."""
    processes: tuple[frozenset[int], ...] = ()
    """Numbers of processes that trained each finished run; empty for a run that logged none."""

    @property
    def finished(self) -> tuple[Run, ...]:
        left_out = (*self.unfinished, *self.not_finite)
        return tuple(run for run in self.runs if run.seed not in left_out)

    @property
    def scores(self) -> dict[int, float]:
        """Return the last score of each seed."""
        return {run.seed: score for run, score in zip(self.finished, self.last, strict=True)}


def other_metrics(runs: Iterable[Run]) -> list[str]:
    """Return the metrics of ``runs`` on their other validation sets.

    For ``val/mIoU`` that is ``unseen/mIoU``, if a validation reported it.
    """
    known = [(run.metric, line) for run in runs for line in load_record(run.folder).val]
    return list(
        dict.fromkeys(
            name for metric, line in known for name in line if _on_another_set(name, metric)
        )
    )


def by_metric(runs: Sequence[Run]) -> list[list[Run]]:
    """Return ``runs`` with their own metric, then again with each of :func:`other_metrics`.

    A finished run without a score on another set is left out there.
    """
    return [list(runs)] + [
        [
            replace(run, metric=name)
            for run in runs
            if _on_another_set(name, run.metric)
            and (not is_finished(run) or load_record(run.folder).scores(name))
        ]
        for name in other_metrics(runs)
    ]


def _on_another_set(name: str, metric: str) -> bool:
    dataset, slash, kind = metric.partition('/')
    other, _, same_kind = name.partition('/')
    return bool(slash) and other != dataset and same_kind == kind


def summarise(runs: Sequence[Run]) -> list[Summary]:
    """Return one summary per config, those without distillation first, then by name."""
    runs = sorted(runs, key=lambda r: (r.distilled, r.name, r.seed))
    return [_summary(name, seeds) for name, seeds in by_config(runs).items()]


def baseline(summary: Summary, summaries: Sequence[Summary]) -> Summary | None:
    """Return the training of the same student without a teacher, or None.

    It has the same initial weights, data and length, and trained in as many processes. Of several,
    for example with other learning rates, it is one with the most seeds in common, and of those the
    best on these seeds, so that a gain is never overstated.
    """
    first = summary.runs[0]
    candidates = [
        other
        for other in summaries
        if first.distilled
        and not other.runs[0].distilled
        and other.runs[0].comparable == first.comparable
        and other.scores
        and same_processes(summary, other)
    ]

    def rank(other: Summary) -> tuple[int, float]:
        common = summary.scores.keys() & other.scores.keys()
        known = [other.scores[seed] for seed in common or other.scores]
        return len(common), first.sign * mean(known)

    return max(candidates, key=rank, default=None)


def same_processes(summary: Summary, other: Summary) -> bool:
    """Return whether the runs of each common seed trained on as many processes, where known.

    Each process has batches of its own, so on twice as many a run of equal length sees twice as
    many images.
    """
    own, others = (
        {run.seed: known for run, known in zip(s.finished, s.processes, strict=False) if known}
        for s in (summary, other)
    )
    return all(own[seed] == others[seed] for seed in own.keys() & others.keys())


def decimals(summary: Summary, summaries: Sequence[Summary]) -> int:
    """Return how many decimals separate the scores of a metric.

    MMDetection reports fractions, MMSegmentation and MMPretrain percent. All scores of the metric
    decide, because an untrained network can score less than one percent.
    """
    metric = summary.runs[0].metric
    scores = [v for other in summaries if other.runs[0].metric == metric for v in other.best]
    return 2 if any(score > 1 for score in scores) else 3


def _summary(name: str, runs: Sequence[Run]) -> Summary:
    ended = [run for run in runs if is_finished(run)]
    records = {run: load_record(run.folder) for run in ended}
    scores = {run: [v for _, v in records[run].scores(run.metric)] for run in ended}
    finished = [run for run in ended if math.isfinite(scores[run][-1])]
    steps = [record.step_time for record in records.values() if record.step_time]
    trainings = [record.train_seconds for record in records.values() if record.train_seconds]
    return Summary(
        name=name,
        runs=tuple(runs),
        last=tuple(scores[run][-1] for run in finished),
        best=tuple(run.best(scores[run]) for run in finished),
        step_ms=mean(steps) * 1e3 if steps else None,
        train_seconds=mean(trainings) if trainings else None,
        unfinished=tuple(run.seed for run in runs if run not in ended),
        not_finite=tuple(run.seed for run in ended if run not in finished),
        skipped=sum(record.skipped_steps for record in records.values()),
        processes=tuple(records[run].processes for run in finished),
    )
