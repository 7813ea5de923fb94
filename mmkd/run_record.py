"""What a training wrote down about itself: losses, weights, scores, from its work dir."""

import json
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

    A run that was resumed has one file for each start; where two of them know a step, the later
    start counts.
    """
    train, val = {}, {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for text in path.read_text().splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:  # the line that a crash cut short
                continue
            (train if 'lr' in line else val)[line['step']] = line
    return RunRecord([train[step] for step in sorted(train)], [val[step] for step in sorted(val)])
