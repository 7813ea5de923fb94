"""Threads of OpenMP that wait: passive in every tool, unless the user chose."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADS_TORCH = ('torch', 'mmengine', 'mmcv', 'mmseg', 'mmdet')


@pytest.mark.parametrize('policy, spins', [(None, '0'), ('ACTIVE', '30000000000')])
def test_train_tool_threads_wait_as_chosen(policy, spins):
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_DISPLAY_ENV='VERBOSE')
    environment.pop('OMP_WAIT_POLICY', None)
    if policy:
        environment['OMP_WAIT_POLICY'] = policy
    done = subprocess.run(
        [sys.executable, 'tools/train.py', '--help'],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    shown = [line for line in done.stderr.splitlines() if 'GOMP_SPINCOUNT' in line]
    if not shown:
        pytest.skip("PyTorch's OpenMP is not GNU's")
    assert all(line.split("'")[1] == spins for line in shown)


@pytest.mark.parametrize('tool', sorted((ROOT / 'tools').rglob('*.py')), ids=lambda path: path.stem)
def test_tool_imports_mmkd_before_what_loads_pytorch(tool):
    imported = []
    for node in ast.parse(tool.read_text()).body:
        if isinstance(node, ast.Import):
            imported += [alias.name.split('.')[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append(node.module.split('.')[0])
    loading = [imported.index(name) for name in LOADS_TORCH if name in imported]
    if loading and 'mmkd' in imported:
        assert imported.index('mmkd') < min(loading)
