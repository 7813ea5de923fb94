"""What a training wrote down about itself: losses, weights, scores, from its work dir."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class RunRecord:
    """The scalars that MMEngine logged, in order of ``step``, resumed parts joined.

    ``train`` has a dict for each logged iteration, ``val`` one for each validation.
    """

    train: list[dict]
    val: list[dict]

    def scores(self, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a validation metric."""
        return [(line['step'], line[metric]) for line in self.val if metric in line]

    def values(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of what training logged under ``name``, such as ``distill.encoder``."""
        return [(line['step'], line[name]) for line in self.train if name in line]

    @property
    def task_loss(self) -> list[tuple[int, float]]:
        """(step, value) of the loss without the distillation's terms."""
        return [
            (line['step'], line['loss'] - sum(line.get(term, 0.0) for term in self.terms))
            for line in self.train
        ]

    @property
    def terms(self) -> list[str]:
        """``distill.<term>`` of every term that was logged."""
        names = dict.fromkeys(name for line in self.train for name in line)
        return sorted(name for name in names if name.startswith('distill.'))

    @property
    def step_time(self) -> float | None:
        """Median seconds of a training step, data loading included."""
        times = [line['time'] for line in self.train if 'time' in line]
        return median(times) if times else None


def read_record(work_dir: str | Path) -> RunRecord:
    """Read the scalars of a work dir; empty if it has none yet.

    A run that was resumed has one file for each start. What an earlier start logged counts up to
    where the next one began; nothing of it does where that one began anew.
    """
    train, val = [], []
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        lines = list(_lines(path))
        later_train = [line for line in lines if 'lr' in line]
        later_val = [line for line in lines if 'lr' not in line]
        anew = train and later_train and later_train[0]['step'] <= train[0]['step']
        train = ([] if anew else _before(train, later_train)) + later_train
        val = ([] if anew else _before(val, later_val)) + later_val
    return RunRecord(train, val)


def _lines(path: Path) -> Iterator[dict]:
    for text in path.read_text().splitlines():
        try:
            yield json.loads(text)
        except json.JSONDecodeError:  # the line that a crash cut short
            continue


def _before(earlier: list[dict], later: list[dict]) -> list[dict]:
    return [line for line in earlier if not later or line['step'] < later[0]['step']]
