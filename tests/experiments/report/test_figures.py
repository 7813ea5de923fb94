"""Which pictures the report shows first."""

from dataclasses import replace

import numpy as np
import pytest

from mmkd.experiments.report.figures import pictures_section
from mmkd.experiments.report.pictures import Scene
from mmkd.experiments.summary import summarise


@pytest.mark.parametrize('rule, best', [('greater', 'high'), ('less', 'low')])
def test_pictures_shown_first_are_of_the_best_runs(finished_run, rule, best):
    names = ('alone_low', 'alone_high', 'kd_low', 'kd_high')
    runs = [
        replace(
            finished_run(name, 0, 3.0 if 'low' in name else 5.0, distilled='kd' in name), rule=rule
        )
        for name in names
    ]
    picture = np.zeros((2, 2, 3), np.uint8)
    scene = Scene(picture, picture, dict.fromkeys(names, picture))
    roles = {name: 'distilled' if 'kd' in name else 'baseline' for name in names}
    html = pictures_section(summarise(runs), roles, [scene])
    for name in names:
        assert html.count(f'value="run {name}" selected') == (1 if best in name else 0)
