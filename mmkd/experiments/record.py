"""The losses, weights and scores that a training logged in its work dir."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite, nan
from pathlib import Path
from statistics import median

# How MMEngine's log, which describes its surroundings first, says how many processes train.
_PROCESSES = re.compile(r'\s*GPU number: (\d+)\s*')


@dataclass(frozen=True)
class RunRecord:
    """The scalars that MMEngine logged, in order of ``step``, with resumed parts joined.

    ``train`` has a dict for each logged iteration, ``val`` one for each validation. ``step`` is the
    iteration in both, also where MMEngine logs validations by epoch.
    """

    train: list[dict]
    val: list[dict]
    processes: frozenset[int] = frozenset()
    """Numbers of processes that trained it, as MMEngine logged them; empty if it did not."""

    def scores(self, metric: str) -> list[tuple[int, float]]:
        """Return (step, value) of a validation metric, none if no validation reported it.

        The value is NaN where others did: MMDetection's metrics report nothing without a box.
        """
        if not any(metric in line for line in self.val):
            return []
        known = [line for line in self.val if metric in line or 'data_time' in line]
        return [(line['step'], line.get(metric, nan)) for line in known]

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
        # The last steps have no log line of their own, but a validation after them.
        last = [lines[-1]['step'] for lines in (self.train, self.val) if lines]
        return self.step_time and self.step_time * max(last)


def load_record(work_dir: str | Path) -> RunRecord:
    """Load the scalars of a work dir; empty if it has none yet.

    A resumed run has one file for each start. The values of an earlier start count up to the place
    where the next one began. They do not count if the next one started from scratch.
    """
    train, val, processes = [], [], frozenset()
    for start in _in_order(_starts(work_dir)):
        if train and start.train and start.first_step <= train[0]['step']:  # from scratch
            train, processes = [], frozenset()
        if start.train:
            train = [line for line in train if line['step'] < start.first_step]
        placed = list(_placed(start.lines, train[-1]['step'] if train else 0))
        # Also those of a start whose only log line the next one repeats: it resumed before that.
        val = [line for line in val if line['step'] < placed[0]['step']]
        train += start.train
        val += [line for line in placed if not _is_train(line)]
        processes |= _processes(start.folder)
    return RunRecord(train, val, processes)


@dataclass(frozen=True)
class _Start:
    """What a run logged between a start and the next one, in MMEngine's folder of that start."""

    folder: Path
    lines: list[dict]

    @property
    def train(self) -> list[dict]:
        return [line for line in self.lines if _is_train(line)]

    @property
    def first_step(self) -> int:
        """Its first logged iteration, 0 if it has only validated."""
        return self.train[0]['step'] if self.train else 0

    @property
    def last_step(self) -> int:
        return self.train[-1]['step'] if self.train else 0


def _is_train(line: dict) -> bool:
    return 'lr' in line


def _starts(work_dir: str | Path) -> list[_Start]:
    """Return the starts of a run by the names of their folders."""
    starts = []
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        lines = list(_lines(path))
        if starts and not any(map(_is_train, lines)):
            # It ended in its first validation, which is of the last checkpoint before it.
            starts[-1].lines.extend(lines)
        elif lines:
            starts.append(_Start(path.parents[1], lines))
    return starts


def _in_order(starts: list[_Start]) -> list[_Start]:
    """Bring the starts of a run into the order in which they trained.

    Their folders are named by the local time, which may go back: a clock is set, a cluster is in
    another time zone. A start that resumes comes after one that reached its first step.
    """
    waiting, ordered, reached = list(starts), [], 0
    first = min((start.first_step for start in waiting), default=0)
    while waiting:
        follows = [start for start in waiting if start.first_step <= max(reached + 1, first)]
        # Between two log lines a few steps lie: then the nearest start is the next one.
        chosen = follows[0] if follows else min(waiting, key=lambda start: start.first_step)
        waiting = [start for start in waiting if start is not chosen]
        ordered.append(chosen)
        reached = chosen.last_step
    return ordered


def _placed(lines: list[dict], began: int) -> Iterator[dict]:
    """Yield the lines of a start with iterations as the steps of validations.

    MMEngine's default counts validations by epoch, which is 0 in a loop by iterations. A step that
    does not lie between the iterations around it is such a number: the validation then gets the
    iteration before it, at first ``began``, the last one of the earlier starts.
    """
    trained = [line['step'] for line in lines if _is_train(line)]
    before, after, seen = [began, *trained], [*trained, inf], 0
    for line in lines:
        if _is_train(line):
            seen += 1
        elif not before[seen] <= line['step'] < after[seen]:
            line = line | dict(step=before[seen])
        yield line


def _processes(folder: Path) -> frozenset[int]:
    for path in sorted(folder.glob('*.log')):
        with open(path, errors='replace') as log:
            found = next(filter(None, map(_PROCESSES.fullmatch, log)), None)
        if found:
            return frozenset({int(found[1])})
    return frozenset()


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
