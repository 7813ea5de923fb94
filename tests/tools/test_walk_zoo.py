"""The table that the walk of the zoos prints of its results."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def line(config: str, role: str, result: str) -> dict:
    return dict(config=config, role=role, result=result, seconds=1.0)


def test_walk_zoo_report_counts_roles_and_joins_equal_results():
    report = runpy.run_path(str(ROOT / 'tools/analysis/walk_zoo.py'))['report']
    refused = 'ok without logits: a tensor of shape ({}, 2, 100)'
    text = report(
        [
            line('mmdet::detr/a.py', 'student', refused.format(6)),
            line('mmdet::dino/b.py', 'student', refused.format(3)),
            line('mmseg::ann/c.py', 'student', 'ok'),
            line('mmseg::ann/c.py', 'teacher', 'RuntimeError: no'),
            line('mmdet::x/d.py', 'teacher', 'excluded: needs lap'),
        ]
    )
    total, _, _, _, *rows = text.splitlines()
    assert total == ('3 of 3 students (1 with logits too), 0 of 1 teachers (0 with logits too)')
    assert rows == [
        '| mmdet | detr, dino | ok without logits: a tensor of shape (...) |  |',
        '| mmseg | ann | ok | RuntimeError: no |',
        '| mmdet | x |  | excluded: needs lap |',
    ]
