"""A short torture: real trainings, killed a few times."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_training_killed_anywhere_resumes_equal():
    result = subprocess.run(
        [sys.executable, ROOT / 'tools/torture.py', '--kills', '4'],
        env=os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    # Other processes' words may stand anywhere between.
    assert re.search(r'\| in all, .* \| 4 \| 4 \|', result.stdout), result.stdout
