"""The losses, weights and scores that a training logged in its work dir."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class RunRecord:
    """The scalars that MMEngine logged, in order of ``step``, with resumed parts joined.

    ``train`` has a dict for each logged iteration, ``val`` one for each validation.
    """

    train: list[dict]
    val: list[dict]

    def scores(self, metric: str) -> list[tuple[int, float]]:
        """Return (step, value) of a validation metric."""
        return [(line['step'], line[metric]) for line in self.val if metric in line]

    def values(self, name: str) -> list[tuple[int, float]]:
        """Return (step, value) of a training value, such as ``distill.encoder``."""
        return [(line['step'], line[name]) for line in self.train if name in line]

    @property
    def task_loss(self) -> list[tuple[int, float]]:
        """Return (step, value) of the loss without the distillation terms."""
        return [
            (line['step'], line['loss'] - sum(line.get(term, 0.0) for term in self.terms))
            for line in self.train
            if 'loss' in line
        ]

    @property
    def terms(self) -> list[str]:
        """Return ``distill.<term>`` of every logged term."""
        names = dict.fromkeys(name for line in self.train for name in line)
        return sorted(name for name in names if name.startswith('distill.'))

    @property
    def skipped_steps(self) -> int:
        """Steps that were left out because their gradients were not finite."""
        counts = [line.get('skipped_steps', 0) for line in self.val + self.train]
        return int(max(filter(isfinite, counts), default=0))

    @property
    def step_time(self) -> float | None:
        """Return the median seconds of a training step, with data loading."""
        times = [line['time'] for line in self.train if isfinite(line.get('time', nan))]
        return median(times) if times else None

    @property
    def train_seconds(self) -> float | None:
        """Seconds of all training steps at their median time: without validations and restarts."""
        return self.step_time and self.step_time * self.train[-1]['step']


def load_record(work_dir: str | Path) -> RunRecord:
    """Load the scalars of a work dir; empty if it has none yet.

    A resumed run has one file for each start. The values of an earlier start count up to the step
    where the next one began. They do not count if the next one started from scratch.
    """
    train, val = [], []
    for lines in _in_order([list(_lines(path)) for path in _logs(work_dir)]):
        later_train = [line for line in lines if 'lr' in line]
        later_val = [line for line in lines if 'lr' not in line]
        anew = train and later_train and later_train[0]['step'] <= train[0]['step']
        train = ([] if anew else _before(train, later_train)) + later_train
        val = ([] if anew else _before(val, later_val)) + later_val
    return RunRecord(train, val)


def _logs(work_dir: str | Path) -> list[Path]:
    return sorted(Path(work_dir).glob('*/vis_data/scalars.json'))


def _in_order(starts: list[list[dict]]) -> list[list[dict]]:
    """Bring the starts of a run into the order in which they trained.

    Their folders are named by the local time, which may go back: a clock is set, a cluster is in
    another time zone. A start that resumes comes after one that reached its first step.
    """
    waiting, ordered, reached = [lines for lines in starts if lines], [], 0
    first = min((_first_step(lines) for lines in waiting), default=0)
    while waiting:
        follows = [lines for lines in waiting if _first_step(lines) <= max(reached + 1, first)]
        # Between two log lines a few steps lie: then the nearest start is the next one.
        chosen = follows[0] if follows else min(waiting, key=_first_step)
        waiting = [lines for lines in waiting if lines is not chosen]
        ordered.append(chosen)
        reached = chosen[-1]['step']
    return ordered


def _first_step(lines: list[dict]) -> int:
    return lines[0]['step']


def _lines(path: Path) -> Iterator[dict]:
    """Yield the numbers of each line; what is not a number, or has no step, is left out."""
    for text in path.read_text(errors='replace').splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):  # a line that a crash cut off, or a damaged one
            continue
        if isinstance(line, dict):
            line = {key: value for key, value in line.items() if _is_number(value)}
            if isinstance(line.get('step'), int) and line['step'] >= 0:
                yield line


def _is_number(value: object) -> bool:
    return type(value) is float or type(value) is int and abs(value) < 2**63


def _before(earlier: list[dict], later: list[dict]) -> list[dict]:
    return [line for line in earlier if not later or line['step'] < later[0]['step']]
