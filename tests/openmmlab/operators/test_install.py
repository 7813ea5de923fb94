"""An mmcv without compiled operators: what mmkd puts in their place, and what it says."""

import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import mmcv
import pytest

from mmkd.openmmlab.operators import install_operators

PROGRAM = """
import torch
import mmkd
import mmcv.ops
assert mmcv._ext_is_hidden
boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]).float()
print('kept', mmcv.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist())
print('compiler', mmcv.ops.get_compiler_version())
from mmseg.models.decode_heads import point_head
from mmseg.models.losses import focal_loss
assert point_head.point_sample and focal_loss._sigmoid_focal_loss
from mmkd.cli.run_tool import run_tool
run_tool(lambda: mmcv.ops.nms_rotated(torch.rand(2, 5), torch.rand(2), 0.5))
"""


@pytest.fixture
def without_extension(tmp_path) -> dict[str, str]:
    """The environment of a process whose mmcv is this one without its compiled operators."""
    package = tmp_path / 'mmcv'
    package.mkdir()
    for path in Path(mmcv.__file__).parent.iterdir():
        if not path.name.startswith('_ext') and path.name != '__init__.py':
            (package / path.name).symlink_to(path)
    start = Path(mmcv.__file__).read_text()
    (package / '__init__.py').write_text(f'{start}\n_ext_is_hidden = True\n')
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), *sys.path])}


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, '-c', code]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_install_supplies_operators_and_missing_one_error_is_one_line(without_extension):
    done = run(PROGRAM, without_extension)
    assert 'kept [0, 2]' in done.stdout and 'compiler none; operators of torchvision' in done.stdout
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: mmcv operator 'nms_rotated' needs mmcv's compiled operators; "
        "run 'MMKD_COMPILE=1 make env'"
    ]


def test_install_operators_of_another_torch_error_is_one_line(without_extension, tmp_path):
    (tmp_path / 'mmcv' / f'_ext{EXTENSION_SUFFIXES[0]}').touch()  # no library, but found
    done = run("import mmkd_cli; mmkd_cli.main(['train', 'x.py'])", without_extension)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: mmcv's compiled operators do not load (")


def test_install_compiled_operators_stay_in_use():
    before = sys.modules['mmcv._ext']
    install_operators()
    assert sys.modules['mmcv._ext'] is before
    assert find_spec('mmcv._ext') is not None
