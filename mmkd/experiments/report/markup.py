"""Roles of runs and small pieces of HTML, which the report's sections share."""

from collections.abc import Sequence
from html import escape

from mmkd.experiments.run import Run
from mmkd.experiments.summary import Summary
from mmkd.experiments.verdict import Gain


def role(summary: Summary, summaries: Sequence[Summary]) -> str:
    """Return ``distilled``, ``teacher`` or ``baseline`` (of another run), or ``other``."""
    run, runs = summary.runs[0], [other.runs[0] for other in summaries]
    if run.distilled:
        return 'distilled'
    if any(_taught(other, summary) for other in runs):
        return 'teacher'
    same = any(other.distilled and other.comparable == run.comparable for other in runs)
    return 'baseline' if same else 'other'


def signed(found: Gain | None, tag: str, places: int = 2) -> str:
    """Return a mean difference with sign, and colour by whether it is for the better, in ``tag``.

    Returns:
        An empty string for None.
    """
    if found is None:
        return ''
    colour = 'up' if found.sign * found.mean >= 0 else 'down'
    return f'<{tag} class="{colour}">{found.mean:+.{places}f}</{tag}>'


def named(name: str) -> str:
    """Return a run's name, with line breaks allowed after underscores."""
    return escape(name).replace('_', '_<wbr>')


def dot(colour: int) -> str:
    """Return the coloured mark of a run."""
    return f'<span class="dot" style="--run: var(--run-{colour % 10})"></span>'


def _taught(run: Run, teacher: Summary) -> bool:
    # Compare the folder's name, because work dirs can be moved.
    return run.teacher is not None and run.teacher[1].split('/')[-2:-1] == [teacher.runs[0].name]
