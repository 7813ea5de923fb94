"""``make env``: what its script says before it installs anything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def set_up(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run the script in a copy of its checkout that holds what it reads."""
    shutil.copytree(ROOT / 'tools/env', folder / 'tools/env')
    shutil.copy(ROOT / 'setup.cfg', folder)
    return subprocess.run(
        [folder / 'tools/env/setup.sh'],
        env=os.environ | dict(PYTHON=sys.executable) | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def full_disk(tmp_path) -> str:
    """Return a PATH whose ``df`` reports 300 MB free."""
    command = tmp_path / 'bin/df'
    command.parent.mkdir()
    command.write_text(
        '#!/bin/sh\n'
        'echo "Filesystem 1024-blocks Used Available Capacity Mounted on"\n'
        'echo "/dev/disk 9000000 8692800 307200 97% /"\n'
    )
    command.chmod(0o755)
    return f'{command.parent}:{os.environ["PATH"]}'


def test_set_up_on_a_full_disk_says_how_much_it_needs(tmp_path, full_disk):
    done = set_up(tmp_path / 'checkout', PATH=full_disk)
    assert done.returncode == 1
    assert '300 MB free: expected 8000 MB' in done.stderr
    assert not (tmp_path / 'checkout/.venv').exists()


def test_set_up_without_a_python_that_serves_names_the_variable(tmp_path):
    done = set_up(tmp_path / 'checkout', PYTHON='no-such-python')
    assert done.returncode == 1
    assert 'no-such-python does not run; set PYTHON to a Python 3.11 or 3.12' in done.stderr
