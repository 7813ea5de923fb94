"""What the report's sections share: roles of runs, and small pieces of HTML."""

from collections.abc import Sequence
from html import escape

from mmkd.ablation.report import Summary
from mmkd.ablation.runs import Run


def role(summary: Summary, summaries: Sequence[Summary]) -> str:
    """``distilled``, ``teacher`` or ``student alone`` of one of the others, or ``other``."""
    run, runs = summary.runs[0], [other.runs[0] for other in summaries]
    if run.distilled:
        return 'distilled'
    if any(_taught(other, summary) for other in runs):
        return 'teacher'
    same = any(other.distilled and other.comparable == run.comparable for other in runs)
    return 'student alone' if same else 'other'


def signed(value: float | None, tag: str, places: int = 2) -> str:
    """A difference with its sign and colour, in an element ``tag``; nothing for None."""
    if value is None:
        return ''
    return f'<{tag} class="{"up" if value >= 0 else "down"}">{value:+.{places}f}</{tag}>'


def named(name: str) -> str:
    """A run's name, which may be broken after an underscore."""
    return escape(name).replace('_', '_<wbr>')


def dot(colour: int) -> str:
    """The mark of the run of that number."""
    return f'<span class="dot" style="--run: var(--run-{colour % 10})"></span>'


def _taught(run: Run, teacher: Summary) -> bool:
    # By the folder's name: work dirs are moved.
    return run.teacher is not None and run.teacher[1].split('/')[-2:-1] == [teacher.runs[0].name]
