"""A short soak: one real training, killed once."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = str(ROOT / 'tools/analysis/soak.py')


@pytest.mark.slow
def test_soak_of_a_killed_training_prints_nine_rows(tmp_path):
    result = subprocess.run(
        [sys.executable, TOOL, str(tmp_path), '--iterations', '100'],
        env=os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    rows = re.findall(r'^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \|$', result.stdout, re.M)
    assert len(rows) == 9 and all(float(cell) > 0 for row in rows for cell in row)
    iterations = [int(row[0]) for row in rows]
    assert iterations == sorted(set(iterations))
    killed = re.search(r'\| (\d+) \| killed and resumed', result.stdout)
    assert iterations[4] < int(killed[1]) < iterations[5]


def test_soak_of_too_few_iterations_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['soak.py', 'soak', '--iterations', '99'])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(TOOL, run_name='__main__')
    assert stop.value.code == 2
    assert capsys.readouterr().err == 'error: --iterations 99: expected at least 100\n'
