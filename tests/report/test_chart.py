import json
import xml.etree.ElementTree as ElementTree

import pytest

from mmkd.report.chart import HEIGHT, WIDTH, Curve, line_chart


def test_points_lie_where_the_axes_say():
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


def test_one_point_is_a_chart_too():
    svg = ElementTree.fromstring(line_chart('x', [Curve('a', 0, [(0, 3.0)])]))
    assert svg.find('g/circle') is not None
