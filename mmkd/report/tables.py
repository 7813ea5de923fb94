"""The report's tables: one row a run, and IoU one row a class."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import mean

from mmkd.ablation.report import Summary, baseline, decimals, difference, spread
from mmkd.report.markup import dot, named, signed


def results_section(
    summaries: Sequence[Summary],
    roles: Mapping[str, str],
    colours: Mapping[str, int],
    parameters: Mapping[str, int],
) -> str:
    """A row for every run, to be sorted by every column.

    Args:
        summaries: the rows.
        roles, colours, parameters: of the runs, by name.
    """
    metrics = ', '.join(dict.fromkeys(s.runs[0].metric for s in summaries))
    columns = [
        ('Run', 'text', ''),
        (metrics, 'number', ''),
        ('Δ alone', 'number', ''),
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
        gap = difference(summary, summaries)
        state = roles[summary.name]
        if len(summary.last) > 1:
            state += f', {len(summary.last)} seeds'
        if summary.unfinished:
            seeds = ', '.join(map(str, summary.unfinished))
            state += f', seed {seeds} unfinished'
        count, places = parameters.get(summary.name), decimals(summary, summaries)
        best = f'{mean(summary.best):.{places}f}' if summary.best else '–'
        cells = [
            (
                summary.name,
                f'{dot(colours[summary.name])}{named(summary.name)}'
                f'<span class="role">{state}</span>',
                'run',
            ),
            (
                _mean(summary.last),
                f'<span class="score">{spread(summary.last, places)}</span>',
                '',
            ),
            (gap, signed(gap, 'span', places) or '–', ''),
            (_mean(summary.best), best, 'minor'),
            (count, f'{count / 1e6:.2f} M' if count else '–', 'minor'),
            (run.length, f'{run.length} {"epochs" if run.by_epoch else "its"}', 'minor'),
            (summary.step_ms, f'{summary.step_ms:.0f} ms' if summary.step_ms else '–', 'minor'),
        ]
        body = ''.join(
            f'<td class="{css}" data-value="{"" if value is None else escape(str(value))}">'
            f'{html}</td>'
            for value, html, css in cells
        )
        rows.append(f'<tr>{body}</tr>')
    return (
        '<p class="note">Of the last validation; means over seeds, with their standard deviation. '
        'Δ alone is the difference to the same student, trained as long, without a teacher. '
        'A click on a column sorts.</p>'
        f'<table class="results sortable"><thead><tr>{heads}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table>'
    )


def classes_section(
    summaries: Sequence[Summary],
    classes: Mapping[str, Mapping[str, Sequence[float]]],
) -> str:
    """IoU of every class: of distilled students against the student alone.

    Args:
        summaries: the columns, where ``classes`` has their names.
        classes: IoU over seeds, by name and class.
    """
    shown = [s for s in summaries if s.name in classes]
    alone = {s.name: baseline(s, summaries) for s in shown}
    means = {n: {c: mean(v) for c, v in by.items()} for n, by in classes.items()}
    rows, largest = [], 1e-9
    for summary in shown:
        against = alone[summary.name]
        if against and against.name in means:
            gaps = (v - means[against.name][c] for c, v in means[summary.name].items())
            largest = max([largest, *(abs(gap) for gap in gaps if gap == gap)])
    for name in dict.fromkeys(c for by in means.values() for c in by):
        cells = [f'<td data-value="{escape(name)}">{escape(name)}</td>']
        for summary in shown:
            value, against = means[summary.name][name], alone[summary.name]
            if value != value:
                cells.append('<td data-value="">–</td>')
            elif against is None or against.name not in means:
                cells.append(f'<td data-value="{value}">{value:.1f}</td>')
            else:
                gap = value - means[against.name][name]
                cells.append(
                    f'<td class="delta {"minus" if gap < 0 else ""}" data-value="{gap}" '
                    f'title="IoU {value:.1f}" style="--size: {abs(gap) / largest:.3f}">'
                    f'<span>{_points(gap)}</span></td>'
                )
        rows.append(f'<tr>{"".join(cells)}</tr>')
    heads = ''.join(
        f'<th scope="col" data-kind="{kind}"><button class="sort">{named(name)}</button></th>'
        for name, kind in [('Class', 'text'), *((s.name, 'number') for s in shown)]
    )
    return (
        '<p class="note">IoU in percent of teachers and of students alone; of a distilled student '
        'its difference to the student alone, in points.</p><div class="scroll" tabindex="0">'
        f'<table class="classes sortable"><thead><tr>{heads}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def _points(gap: float) -> str:
    return f'{gap:+.1f}' if round(gap, 1) else '0.0'
