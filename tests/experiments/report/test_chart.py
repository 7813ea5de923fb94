import json
import xml.etree.ElementTree as ElementTree

import pytest

from mmkd.experiments.report.chart import HEIGHT, WIDTH, Curve, line_chart


def test_chart_points_match_axes():
    curves = [Curve('a & b', 3, [(0, 0.0), (50, 5.0), (100, 10.0)]), Curve('c', 11, [(100, 2.5)])]
    svg = ElementTree.fromstring(line_chart('<score>', curves))
    assert svg.get('aria-label') == '<score>'
    labels = {t.text: (float(t.get('x')), float(t.get('y'))) for t in svg.iter('text')}
    first, second = svg.findall('g')
    assert first.get('data-name') == 'a & b' and first.get('data-run') == '3'
    assert second.get('style') == '--run: var(--run-1)'  # colours come again after ten
    (x, y, left, low), middle, (*_, right, high) = json.loads(first.get('data-points'))
    assert (x, y) == (0, 0) and middle[2:] == pytest.approx([(left + right) / 2, (low + high) / 2])
    assert labels['100'][0] == right and labels['10'][1] == pytest.approx(high + 3.5, abs=0.1)
    drawn = first.find('polyline').get('points').split()
    assert drawn == [f'{px},{py}' for *_, px, py in json.loads(first.get('data-points'))]
    assert 0 < left < right < WIDTH and 0 < high < low < HEIGHT
    assert json.loads(second.get('data-points'))[0][3] == pytest.approx(low + (high - low) / 4)


def test_chart_of_one_point_is_drawn():
    svg = ElementTree.fromstring(line_chart('x', [Curve('a', 0, [(0, 3.0)])]))
    assert svg.find('g/circle') is not None


def test_chart_nonfinite_values_are_omitted():
    nan, infinite = float('nan'), float('inf')
    points = [(1, 2.0), (2, nan), (3, -infinite), (4, infinite), (5, 1.0), (6, 1e308), (7, -1e308)]
    svg = ElementTree.fromstring(
        line_chart('x', [Curve('a', 0, points), Curve('b', 1, [(1, nan)])])
    )
    (curve,) = svg.findall('g')
    assert [p[:2] for p in json.loads(curve.get('data-points'))] == [[1, 2.0], [5, 1.0]]
    assert 'nan' not in curve.find('polyline').get('points')
    assert 'no finite values' in line_chart('<x>', [Curve('a', 0, [(0, infinite)])])
