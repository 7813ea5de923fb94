"""The report's tables show the paired differences of the verdict."""

import re

import pytest

from mmkd.experiments.report.tables import classes_section
from mmkd.experiments.summary import summarise

NAN = float('nan')


def rows(html: str) -> dict[str, list[tuple[str, str]]]:
    """Return (number to sort by, text) of each column, by class."""
    found = {}
    for row in re.findall('<tr>(<td.*?)</tr>', html):
        name, *cells = re.findall('<td[^>]*data-value="([^"]*)"[^>]*>(?:<span>)?([^<]*)', row)
        found[name[0]] = cells
    return found


@pytest.fixture
def summaries(finished_run):
    runs = [finished_run('alone', seed, 40.0, distilled=False) for seed in (0, 1)]
    return summarise([*runs, *(finished_run('kd', seed, 43.0) for seed in (0, 1, 2))])


def test_classes_differences_are_over_the_seeds_that_both_have(summaries):
    scores = dict(
        alone={'car': {0: 50.0, 1: 60.0}, 'bus': {0: NAN, 1: 20.0}, 'dog': {0: 5.0}},
        kd={'car': {0: 51.0, 1: 63.0, 2: 90.0}, 'bus': {0: 70.0, 1: 25.0}, 'dog': {1: 7.0}},
    )
    found = rows(classes_section(summaries, scores))
    assert found['car'] == [('55.0', '55.0'), ('2.0', '+2.0')]  # 1 and 3; seed 2 is alone
    assert found['bus'] == [('20.0', '20.0'), ('5.0', '+5.0')]
    assert found['dog'] == [('5.0', '5.0'), ('7.0', '7.0')]  # no seed has both


def test_classes_bars_have_the_length_of_their_share_of_the_largest(summaries):
    scores = dict(
        alone={'car': {0: 50.0}, 'bus': {0: 50.0}, 'cat': {0: NAN}},
        kd={'car': {0: 40.0}, 'bus': {0: 55.0}, 'cat': {0: NAN}},
    )
    html = classes_section(summaries, scores)
    assert re.findall('--size: ([0-9.]+)', html) == ['1.000', '0.500']
    assert rows(html)['cat'] == [('', '–'), ('', '–')]
