import re
import runpy
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_demo_run_writes_table_and_picture(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['demo', '--iters', '2'])
    runpy.run_path(str(ROOT / 'tools/demo.py'), run_name='__main__')
    table = Path('work_dirs/demo/table.md').read_text()
    rows = re.findall(r'\| (.+?) \| ([\d.]+) \| ([\d.]+) M \| (\d+) \|', table)
    assert [row[0] for row in rows] == [
        'teacher EfficientNet-Lite2',
        'VMamba-nano baseline',
        'VMamba-nano distilled',
    ]
    assert rows[1][2] == rows[2][2] and float(rows[0][2]) > float(rows[1][2])
    assert table in capfd.readouterr().out
    # Five pictures of 4:3 at 288 pixels, four gaps, a title bar.
    assert cv2.imread('work_dirs/demo/streets.png').shape == (288 + 28, 5 * 384 + 4 * 4, 3)
