"""gpu_check.sh without a GPU: the part that a CPU can run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason='would take ten minutes')
def test_gpu_check_without_gpu_runs_its_cpu_part():
    environment = os.environ | dict(PY=sys.executable, PYTEST_ADDOPTS='-k "by_hand or gradcheck"')
    done = subprocess.run(
        ['tools/analysis/gpu_check.sh'], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith('device: CPU')
    assert '[100%]' in done.stdout and 'no GPU: the other checks are left out' in done.stdout
