"""The report's page: sections of HTML from what runs logged, in one self-contained file."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from statistics import mean
from string import Template

from mmkd.experiments.report.figures import curves_section, pictures_section
from mmkd.experiments.report.markup import named, role, signed
from mmkd.experiments.report.pictures import Scene
from mmkd.experiments.report.tables import classes_section, results_section
from mmkd.experiments.summary import Summary, decimals
from mmkd.experiments.verdict import gain
from mmkd.version import __version__

_KINDS = {
    'teacher': 'Teacher',
    'baseline': 'Baseline',
    'distilled': 'Distilled student',
}
_SENTENCES = 8  # sentences shown per run; the rest is folded
_FILES = ('template.html', 'page.css', 'page.js')


def render(
    title: str,
    summaries: Sequence[Summary],
    parameters: Mapping[str, int],
    classes: Mapping[str, Mapping[str, Mapping[int, float]]],
    scenes: Sequence[Scene],
    words: Mapping[str, tuple[str, Sequence[str]]],
) -> str:
    """Return the whole page.

    Args:
        title: The heading.
        summaries: At least one, see ``mmkd.experiments.summary.summarise``.
        parameters: Number of parameters of each network, by name.
        classes: IoU by name, class and seed; can be empty.
        scenes: Pictures by name; can be empty.
        words: By name, a heading and sentences about the config.
    """
    roles = {summary.name: role(summary, summaries) for summary in summaries}
    colours = {summary.name: i for i, summary in enumerate(summaries)}
    sections = {
        'Results': results_section(summaries, roles, colours, parameters),
        'Curves': curves_section(summaries, colours),
        'Classes': classes_section(summaries, classes) if classes else '',
        'Pictures': pictures_section(summaries, roles, scenes) if scenes else '',
        'Configs': _words(words),
    }
    sections = {name: html for name, html in sections.items() if html}
    runs = sum(len(summary.runs) for summary in summaries)
    part = {name: (files('mmkd.experiments.report') / name).read_text() for name in _FILES}
    return Template(part['template.html']).substitute(
        version=__version__,
        title=escape(title),
        count=f'{runs} run{"s" if runs > 1 else ""}',
        style=part['page.css'],
        script=part['page.js'],
        script_hash=_hash(part['page.js']),
        nav=''.join(f'<a href="#{name.lower()}">{name}</a>' for name in sections),
        tiles=_tiles(summaries, roles),
        sections='\n'.join(
            f'<section class="card" id="{name.lower()}"><h2>{name}</h2>{html}</section>'
            for name, html in sections.items()
        ),
    )


def _hash(script: str) -> str:
    """Return how a Content-Security-Policy names the one script that the page may run."""
    return f'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'


def _tiles(summaries: Sequence[Summary], roles: Mapping[str, str]) -> str:
    tiles = []
    for kind in _KINDS:
        scored = [s for s in summaries if roles[s.name] == kind and s.last]
        if not scored:
            continue
        best = max(scored, key=lambda s: s.runs[0].sign * mean(s.last))
        found, places = gain(best, summaries), decimals(best, summaries)
        part = f', difference over {found.part}' if found and found.part else ''
        label = _KINDS[kind]
        if len(scored) > 1:
            label = f'{label}, best of {len(scored)}'
        tiles.append(
            f'<div class="tile"><div class="label">{label}</div>'
            f'<div class="value">{mean(best.last):.{places - 1}f}'
            f'{signed(found, "small", places)}</div>'
            f'<div class="name">{named(best.name)}{part}</div></div>'
        )
    return ''.join(tiles)


def _words(words: Mapping[str, tuple[str, Sequence[str]]]) -> str:
    blocks = []
    for name, (heading, sentences) in words.items():
        text = f'<h3>{named(name)}</h3><p>{escape(heading)}</p>{_list(sentences[:_SENTENCES])}'
        rest = sentences[_SENTENCES:]
        if rest:
            text += f'<details><summary>{len(rest)} more</summary>{_list(rest)}</details>'
        blocks.append(f'<div>{text}</div>')
    return (
        '<p class="note">What each run does, and how it differs from the most similar run.</p>'
        f'<div class="words">{"".join(blocks)}</div>'
    )


def _list(sentences: Sequence[str]) -> str:
    return f'<ul>{"".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)}</ul>'
