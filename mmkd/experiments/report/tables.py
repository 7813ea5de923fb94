"""The report's tables: one row per run, and IoU with one row per class."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from math import nan
from statistics import mean

from mmkd.experiments.class_scores import paired_differences
from mmkd.experiments.report.markup import dot, named, signed
from mmkd.experiments.summary import Summary, baseline, decimals
from mmkd.experiments.tables import format_interval, format_mean_std
from mmkd.experiments.verdict import Gain, gain, refusals, unpaired_seeds


def results_section(
    summaries: Sequence[Summary],
    roles: Mapping[str, str],
    colours: Mapping[str, int],
    parameters: Mapping[str, int],
) -> str:
    """Return a table with a row for every run, sortable by every column.

    Args:
        summaries: The rows.
        roles, colours, parameters: By name of the run.
    """
    metrics = ', '.join(dict.fromkeys(s.runs[0].metric for s in summaries))
    columns = [
        ('Run', 'text', ''),
        (metrics, 'number', ''),
        ('Δ vs. baseline', 'number', ''),
        ('95 % interval', 'number', 'minor'),
        ('Best', 'number', 'minor'),
        ('Parameters', 'number', 'minor'),
        ('Length', 'number', 'minor'),
        ('Step', 'number', 'minor'),
    ]
    heads = ''.join(
        f'<th scope="col" data-kind="{kind}" class="{css}">'
        f'<button class="sort">{escape(name)}</button></th>'
        for name, kind, css in columns
    )
    rows = []
    for summary in summaries:
        run = summary.runs[0]
        found = gain(summary, summaries)
        gap = found and found.mean
        state = roles[summary.name]
        if len(summary.last) > 1:
            state += f', {len(summary.last)} seeds'
        if summary.unfinished:
            seeds = ', '.join(map(str, summary.unfinished))
            state += f', seed {seeds} unfinished'
        if summary.not_finite:
            seeds = ', '.join(map(str, summary.not_finite))
            state += f', seed {seeds} not finite'
        if summary.skipped:
            state += f', {summary.skipped} steps skipped'
        count, places = parameters.get(summary.name), decimals(summary, summaries)
        interval = format_interval(found, places) if found else ''
        best = f'{mean(summary.best):.{places}f}' if summary.best else '–'
        cells = [
            (
                summary.name,
                f'{dot(colours[summary.name])}{named(summary.name)}'
                f'<span class="role">{escape(state)}</span>',
                'run',
            ),
            (
                _mean(summary.last),
                f'<span class="score">{format_mean_std(summary.last, places)}</span>',
                '',
            ),
            (gap, _gap(found, places), ''),
            (found.interval[0] if interval else None, interval or '–', 'minor'),
            (_mean(summary.best), best, 'minor'),
            (count, f'{count / 1e6:.2f} M' if count else '–', 'minor'),
            (
                run.length,
                f'{escape(str(run.length))} {"epochs" if run.by_epoch else "its"}',
                'minor',
            ),
            (summary.step_ms, f'{summary.step_ms:.0f} ms' if summary.step_ms else '–', 'minor'),
        ]
        body = ''.join(
            f'<td class="{css}" data-value="{"" if _unknown(value) else escape(str(value))}">'
            f'{html}</td>'
            for value, html, css in cells
        )
        rows.append(f'<tr>{body}</tr>')
    return (
        '<p class="note">Last validation: mean over seeds and standard deviation. Δ vs. baseline '
        'is the mean difference, seed by seed, to the same student, trained as long, without a '
        'teacher. Its interval needs two seeds or more. Click a column to sort by it.</p>'
        f'<table class="results sortable"><thead><tr>{heads}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table>'
        + _note('Not compared', refusals, summaries)
        + _note('Without a finished run of that seed in the baseline', unpaired_seeds, summaries)
    )


def classes_section(
    summaries: Sequence[Summary],
    classes: Mapping[str, Mapping[str, Mapping[int, float]]],
) -> str:
    """Return the IoU of every class, for distilled students as a difference to the baseline.

    The difference is the mean over the seeds that both have, as in the table of results.

    Args:
        summaries: The columns; those without a name in ``classes`` are left out.
        classes: IoU by name, class and seed.
    """
    shown = [s for s in summaries if s.name in classes]
    names = list(dict.fromkeys(c for s in shown for c in classes[s.name]))
    gaps = {s.name: _class_gaps(s, summaries, classes) for s in shown}
    known = [abs(gap) for by_class in gaps.values() for gap in by_class.values() if gap == gap]
    largest = max([1e-9, *known])
    rows = []
    for name in names:
        cells = [f'<td data-value="{escape(name)}">{escape(name)}</td>']
        for summary in shown:
            value = _known_mean(classes[summary.name].get(name, {}).values())
            cells.append(_class_cell(value, gaps[summary.name].get(name, nan), largest))
        rows.append(f'<tr>{"".join(cells)}</tr>')
    heads = ''.join(
        f'<th scope="col" data-kind="{kind}"><button class="sort">{named(name)}</button></th>'
        for name, kind in [('Class', 'text'), *((s.name, 'number') for s in shown)]
    )
    return (
        '<p class="note">IoU in percent; for a distilled student, its difference to the baseline '
        'in points, seed by seed.</p><div class="scroll" tabindex="0">'
        f'<table class="classes sortable"><thead><tr>{heads}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _class_gaps(
    summary: Summary,
    summaries: Sequence[Summary],
    classes: Mapping[str, Mapping[str, Mapping[int, float]]],
) -> dict[str, float]:
    """Return the mean difference of each class to the baseline, NaN where no seed has both."""
    other = baseline(summary, summaries)
    found = paired_differences(classes, summary.name, other.name) if other else {}
    return {name: mean(gaps) if gaps else nan for name, gaps in found.items()}


def _class_cell(value: float, gap: float, largest: float) -> str:
    if value != value:
        return '<td data-value="">–</td>'
    if gap != gap:
        return f'<td data-value="{value}">{value:.1f}</td>'
    return (
        f'<td class="delta {"minus" if gap < 0 else ""}" data-value="{gap}" '
        f'title="IoU {value:.1f}" style="--size: {abs(gap) / largest:.3f}">'
        f'<span>{_points(gap)}</span></td>'
    )


def _gap(found: Gain | None, places: int) -> str:
    if found is None:
        return '–'
    part = f'<span class="role">{found.part}</span>' if found.part else ''
    return signed(found, 'span', places) + part


def _note(
    title: str,
    facts: Callable[[Summary, Sequence[Summary]], list[str]],
    summaries: Sequence[Summary],
) -> str:
    lines = [line for summary in summaries for line in facts(summary, summaries)]
    return f'<p class="note">{title}: {escape("; ".join(lines))}.</p>' if lines else ''


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def _known_mean(values: Iterable[float]) -> float:
    """Return the mean over the seeds that have a value, NaN where none has."""
    return mean([value for value in values if value == value] or [nan])


def _unknown(value: object) -> bool:
    return value is None or value != value


def _points(gap: float) -> str:
    return f'{gap:+.1f}' if round(gap, 1) else '0.0'
