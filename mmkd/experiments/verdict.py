"""Decide from paired seeds whether distillation makes a student better.

Two runs of one seed start from the same weights and see the same images, so their difference is
taken seed by seed. Its mean has the interval of Student's t-distribution for paired samples
(Student, "The probable error of a mean", 1908).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.stats import t

from mmkd.experiments.summary import Summary, baseline, same_processes

CONFIDENCE = 0.95
# By how much the training times of two runs at equal wall-clock may differ.
_TIME_TOLERANCE = 0.1
# Scores have three decimals at most: what lies below this is rounding of their differences.
_ROUNDING = 1e-9
_PROCESSES = 'processes'  # counted by the training, while a run's setup is known before it


@dataclass(frozen=True)
class Gain:
    """A paired difference over seeds: a config's score minus its baseline's.

    Attributes:
        baseline: name of the baseline.
        differences: by seed, in the metric's unit.
        time_ratio: training time of the baseline over that of the config; NaN if not logged.
        rule: ``less`` if a smaller score is the better one, as of a loss.
        unpaired: the config's other seeds, which lack a finished run on either side.
    """

    baseline: str
    differences: dict[int, float]
    time_ratio: float
    rule: str = 'greater'
    unpaired: tuple[int, ...] = ()

    @property
    def sign(self) -> int:
        """1 if a positive difference is a gain, -1 if a negative one is."""
        return -1 if self.rule == 'less' else 1

    @property
    def mean(self) -> float:
        return mean(self.differences.values())

    @property
    def at_equal_time(self) -> bool:
        """Whether both trained for the same time, give or take 10 %."""
        return abs(self.time_ratio - 1) <= _TIME_TOLERANCE

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the mean's 95 % interval; infinite for a single seed."""
        count = len(self.differences)
        if count < 2:
            return -math.inf, math.inf
        error = stdev(self.differences.values()) / math.sqrt(count)
        half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
        return self.mean - half, self.mean + half

    def verdict(self, threshold: float) -> str:
        """Return GO, NO-GO or INCONCLUSIVE.

        Where a smaller score is the better one, the difference counts with the other sign.

        GO: the mean is at least ``threshold`` and the interval lies above 0. NO-GO: the mean is
        below ``threshold`` and the interval does not lie above 0. INCONCLUSIVE: one of the two
        holds, so only more seeds can tell; a single seed is always inconclusive.
        """
        if len(self.differences) < 2:
            return 'INCONCLUSIVE'
        enough = self.sign * self.mean >= threshold - _ROUNDING
        above = min(self.sign * end for end in self.interval) > _ROUNDING
        if enough and above:
            return 'GO'
        return 'INCONCLUSIVE' if enough or above else 'NO-GO'

    @property
    def part(self) -> str:
        """Say how many of the config's seeds it is over; nothing if it is over all."""
        paired = len(self.differences)
        seeds = paired + len(self.unpaired)
        return f'{paired} of {seeds} seeds' if self.unpaired else ''

    def stated(self, threshold: float) -> str:
        """Return the verdict, followed by the number of seeds where it is not over all."""
        return f'{self.verdict(threshold)} ({self.part})' if self.part else self.verdict(threshold)


def gain(summary: Summary, summaries: Sequence[Summary]) -> Gain | None:
    """Compare a distilled config with its baseline at equal iterations, if there is one."""
    other = baseline(summary, summaries)
    return _gain(summary, other) if other else None


def gain_at_equal_time(summary: Summary, summaries: Sequence[Summary]) -> Gain | None:
    """Compare a distilled config with a baseline that trained longer, for as much wall-clock time.

    A baseline qualifies whose training time is that of the config, give or take 10 %. Of several
    it is one with the most seeds in common, and of those the best.
    """
    gains = [
        _gain(summary, other)
        for other in summaries
        if _trained_longer(summary, other) and same_processes(summary, other)
    ]
    at_equal_time = [found for found in gains if found and found.at_equal_time]

    def rank(found: Gain) -> tuple[int, float]:
        return len(found.differences), -found.sign * found.mean  # over the best, it is smallest

    return max(at_equal_time, key=rank, default=None)


def refusals(summary: Summary, summaries: Sequence[Summary]) -> list[str]:
    """Say why undistilled runs of a config's student are not compared with it.

    Returns:
        A line for each run that differs in its setup or has other seeds, none where another
        baseline has neither.
    """
    lines = []
    own_baseline = baseline(summary, summaries)
    if own_baseline and summary.last and gain(summary, summaries) is None:
        lines.append(f'{summary.name} with {own_baseline.name}: they do not have a seed in common')
    for other in summaries:
        differing = _differing(summary, other)
        if not differing or 'student' in differing or not summary.last or not other.last:
            continue
        if _trained_longer(summary, other):
            fact = _refusal_at_equal_time(summary, other)
            if fact:
                lines.append(f'{summary.name} with {other.name} at equal time: {fact}')
        elif own_baseline is None:
            facts = ', '.join(_fact(key, summary, other) for key in differing)
            lines.append(f'{summary.name} with {other.name}: {facts}')
    return lines


def unpaired_seeds(summary: Summary, summaries: Sequence[Summary]) -> list[str]:
    """Name the finished seeds of a config that a gain leaves out, as its baseline lacks them."""
    lines = {}
    for found in (gain(summary, summaries), gain_at_equal_time(summary, summaries)):
        seeds = [seed for seed in summary.scores if found and seed in found.unpaired]
        if seeds:
            lines[f'{summary.name} with {found.baseline}'] = ', '.join(map(str, seeds))
    return [f'{pair} seed {seeds}' for pair, seeds in lines.items()]


def _refusal_at_equal_time(summary: Summary, other: Summary) -> str | None:
    if not same_processes(summary, other):
        return _fact(_PROCESSES, summary, other)
    found = _gain(summary, other)
    if found is None:
        return 'they do not have a seed in common'
    if found.at_equal_time:
        return None
    unknown = [s.name for s in (summary, other) if not s.train_seconds]
    if unknown:
        names = ' and '.join(unknown)
        return f'the step time of {names} is not logged; lower default_hooks.logger.interval'
    return f'it trained {found.time_ratio:.2f} times as long'


def _gain(summary: Summary, other: Summary) -> Gain | None:
    own, others = summary.scores, other.scores
    differences = {seed: own[seed] - others[seed] for seed in own if seed in others}
    if not differences:
        return None
    times = (other.train_seconds, summary.train_seconds)
    ratio = times[0] / times[1] if all(times) else math.nan
    unpaired = tuple(run.seed for run in summary.runs if run.seed not in differences)
    return Gain(other.name, differences, ratio, summary.runs[0].rule, unpaired)


def _trained_longer(summary: Summary, other: Summary) -> bool:
    differing = [key for key in _differing(summary, other) if key != _PROCESSES]
    return differing == ['length'] and other.runs[0].length > summary.runs[0].length


def _differing(summary: Summary, other: Summary) -> list[str]:
    """Return what tells the setups of a distilled and an undistilled config apart."""
    own, others = summary.runs[0], other.runs[0]
    if not own.distilled or others.distilled:
        return []
    both = own.setup and others.setup
    keys = [key for key in own.setup if own.setup[key] != others.setup.get(key)] if both else []
    # Of runs without a setup, which earlier versions noted, only the hash of it can tell.
    alike = keys or own.comparable == others.comparable
    return [*keys, _PROCESSES] if alike and not same_processes(summary, other) else keys


def _fact(key: str, summary: Summary, other: Summary) -> str:
    if key in ('training data', 'validation data', 'validation scores'):
        return f'other {key}'
    if key == _PROCESSES:
        known = (sorted(frozenset().union(*s.processes)) for s in (summary, other))
        return f'{key} {" and ".join(", ".join(map(str, numbers)) for numbers in known)}'
    values = (s.runs[0].setup.get(key) or 'none' for s in (summary, other))
    return f'{key} {" and ".join(values)}'
