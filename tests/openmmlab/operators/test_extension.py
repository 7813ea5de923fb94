"""The model zoos of MMSegmentation and MMDetection find each operator that they call."""

import ast
import inspect
import re
import sys
from pathlib import Path

import mmcv.ops
import mmdet
import mmseg
import pytest
from mmengine.registry import MODELS

from mmkd.errors import UserError
from mmkd.openmmlab.operators import extension

# Operators beside those that the zoos call: of rotated boxes, of any quadrangles, CARAFE's slow
# form. CLRNet suppresses lines by line_nms on GPUs only, and mmcv has no form of it for CPUs.
NOT_CALLED = {
    *('nms_rotated', 'nms_quadri', 'carafe_naive_forward', 'carafe_naive_backward'),
    'line_nms_forward',
}


def names_in_sources(library: Path) -> set[str]:
    """Return what the library's modules import from ``mmcv.ops``."""
    return {
        alias.name
        for path in (library / 'models').rglob('*.py')
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('mmcv.ops')
        for alias in node.names
    }


def names_in_configs(library: Path) -> set[str]:
    """Return the types that the library's configs name."""
    texts = (path.read_text() for path in (library / '.mim/configs').rglob('*.py'))
    return {name for text in texts for name in re.findall(r"type='(\w+)'", text)}


def homes() -> dict[str, str]:
    """Return the module of ``mmcv.ops`` that defines each of its names and registered types."""
    start = ast.parse(inspect.getsource(mmcv.ops))
    nodes = [node for node in start.body if isinstance(node, ast.ImportFrom)]
    found = {a.name: f'mmcv.ops.{node.module}' for node in nodes for a in node.names}
    return found | {name: kind.__module__ for name, kind in MODELS.module_dict.items()}


@pytest.mark.parametrize('library', [mmseg, mmdet], ids=lambda library: library.__name__)
def test_extension_supplies_every_operator_of_the_zoo(library):
    folder, home = Path(library.__file__).parent, homes()
    names = names_in_sources(folder) | names_in_configs(folder)
    modules = {home[name] for name in names & home.keys() if home[name].startswith('mmcv.ops.')}
    sources = [inspect.getsource(sys.modules[name]) for name in modules]
    lists = [re.findall(r"load_ext\(\s*'_ext',\s*\[(.*?)\]", text, re.S) for text in sources]
    called = set(re.findall(r"'(\w+)'", str(sum(lists, [])).replace('"', '')))
    assert 'sigmoid_focal_loss_forward' in called
    assert called - NOT_CALLED <= set(extension.__all__)


def test_extension_missing_operator_fails_when_called():
    operator = extension.border_align_forward
    with pytest.raises(UserError, match="'border_align_forward' needs.*MMKD_COMPILE=1 make env"):
        operator()


def test_extension_private_name_raises_attribute_error():
    assert not hasattr(extension, '__path__')
