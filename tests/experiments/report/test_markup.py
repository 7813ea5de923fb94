import pytest

from mmkd.experiments.report.markup import signed
from mmkd.experiments.verdict import Gain


@pytest.mark.parametrize(
    'difference, rule, html',
    [
        (1.5, 'greater', '<b class="up">+1.50</b>'),
        (-1.5, 'greater', '<b class="down">-1.50</b>'),
        (1.5, 'less', '<b class="down">+1.50</b>'),
        (-1.5, 'less', '<b class="up">-1.50</b>'),
    ],
)
def test_signed_colour_says_whether_it_is_better(difference, rule, html):
    assert signed(Gain('alone', {0: difference}, 1.0, rule), 'b') == html


def test_signed_of_no_gain_is_empty():
    assert signed(None, 'b') == ''
