"""The report's curves and pictures."""

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from statistics import mean

from mmkd.experiments.record import load_record
from mmkd.experiments.report.chart import Curve, line_chart
from mmkd.experiments.report.markup import dot, named
from mmkd.experiments.report.pictures import Scene, data_uri
from mmkd.experiments.summary import Summary


def curves_section(summaries: Sequence[Summary], colours: Mapping[str, int]) -> str:
    """Return scores, task losses, and every term's loss and weight, for each run's first seed."""
    records = {s.name: (s.runs[0], load_record(s.runs[0].folder)) for s in summaries}
    metric = summaries[0].runs[0].metric
    terms = sorted({term for _, record in records.values() for term in record.terms})
    weights = [term.replace('distill.', 'weight.') for term in terms]
    titles = {metric: metric, 'task loss': 'Task loss'}
    titles |= {term: f'Term {term.removeprefix("distill.")}, weighted' for term in terms}
    titles |= {weight: f'Weight of {weight.removeprefix("weight.")}' for weight in weights}
    charts = []
    for key, title in titles.items():
        curves = []
        for name, (run, record) in records.items():
            if key == 'task loss':
                points = record.task_loss
            else:
                points = record.scores(run.metric) if key == metric else record.values(key)
            points = [(step, value) for step, value in points if isfinite(value)]
            if points:
                curves.append(Curve(name, colours[name], points))
        if curves:
            charts.append(
                f'<figure class="chart"><h3>{escape(title)}</h3>{line_chart(title, curves)}'
                '<div class="readout" aria-live="polite"></div></figure>'
            )
    legend = ''.join(
        f'<button aria-pressed="true" data-run="{colour}">{dot(colour)}{named(name)}</button>'
        for name, colour in colours.items()
        if records[name][1].train
    )
    return (
        '<p class="note">First seed of each run, over training steps. '
        'Click a name to hide or show its run.</p>'
        f'<div class="legend">{legend}</div><div class="charts">{"".join(charts)}</div>'
    )


def pictures_section(
    summaries: Sequence[Summary], roles: Mapping[str, str], scenes: Sequence[Scene]
) -> str:
    """Return two pictures of one scene under a slider, and all pictures of that scene."""
    names = {'input': 'Input', 'truth': 'Ground truth'}
    shown = [s for s in summaries if s.name in scenes[0].predictions]
    names |= {f'run {s.name}': f'{s.name} ({roles[s.name]})' for s in shown}
    figures, thumbs = [], []
    for i, scene in enumerate(scenes):
        pictures = {'input': scene.input, 'truth': scene.truth}
        pictures |= {f'run {s.name}': scene.predictions[s.name] for s in shown}
        thumbs.append(
            f'<button data-scene="{i}" aria-pressed="false"><img alt="Scene {i + 1}"></button>'
        )
        figures += [
            f'<figure data-scene="{i}" data-key="{escape(key)}">'
            f'<img src="{data_uri(picture)}" alt="{escape(names[key])}, scene {i + 1}">'
            f'<figcaption>{named(names[key])}</figcaption></figure>'
            for key, picture in pictures.items()
        ]
    left, right = _first_pair(shown, roles)
    return (
        '<p class="note">Validation images at the size of the input. The slider moves the border '
        'between two pictures.</p>'
        f'<div class="scenes">{"".join(thumbs)}</div><div class="viewer"><div>'
        '<div class="compare"><img class="under" alt=""><img class="over" alt="">'
        '<div class="bar"></div><input type="range" min="0" max="100" value="50" '
        'aria-label="Border between the left and the right picture"></div>'
        f'<div class="choose"><label>Left{_select(names, left)}</label>'
        f'<label>Right{_select(names, right)}</label></div></div>'
        f'<div class="all">{"".join(figures)}</div></div>'
    )


def _first_pair(shown: Sequence[Summary], roles: Mapping[str, str]) -> tuple[str, str]:
    """Return the first pair to show: the best baseline, and the best distilled student."""
    best = {}
    scored = [summary for summary in shown if summary.last]
    for summary in sorted(scored, key=lambda s: s.runs[0].sign * mean(s.last)):
        best[roles[summary.name]] = f'run {summary.name}'
    right = best.get('distilled', 'truth')
    return best.get('baseline') or best.get('teacher') or 'input', right


def _select(names: Mapping[str, str], chosen: str) -> str:
    options = ''.join(
        f'<option value="{escape(key)}"{" selected" if key == chosen else ""}>{escape(name)}'
        '</option>'
        for key, name in names.items()
    )
    return f'<select>{options}</select>'
