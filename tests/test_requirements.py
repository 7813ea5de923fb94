import sys
from types import ModuleType

import pytest

from mmkd import requirements
from mmkd.requirements import check_requirements


def test_what_is_installed_will_do():
    assert check_requirements() is None  # it raises otherwise


@pytest.mark.parametrize(
    'required, message',
    [
        ({'no_such': ('1.0', 'x==1')}, "no_such >= 1.0, which is missing: .*'pip install x==1'"),
        ({'torch': ('99.0', 'torch==99')}, "torch >= 99.0, found .*'pip install torch==99'"),
        ({'mmcv': ('99.0', 'mmcv==99')}, 'MMCV_WITH_OPS=1 pip install --no-build-isolation'),
    ],
)
def test_one_sentence_says_what_and_how(required, message):
    with pytest.raises(ImportError, match=message) as error:
        check_requirements(required)
    assert '\n' not in str(error.value)


def test_a_library_that_fails_to_import_is_named(tmp_path, monkeypatch):
    (tmp_path / 'broken_build.py').write_text("raise RuntimeError('operator nms\\ndoes not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r'does not import \(operator nms does not exist\)'):
        check_requirements({'broken_build': ('1.0', 'x==1')})


def test_mmcv_without_ops_is_named(monkeypatch):
    fake = ModuleType('mmcv')
    fake.__version__, fake.__spec__, fake.__path__ = '2.1.0', sys.modules['mmcv'].__spec__, []
    monkeypatch.setitem(sys.modules, 'mmcv', fake)
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    with pytest.raises(ImportError, match='mmcv >= 2.1.0, found without its compiled ops'):
        check_requirements({'mmcv': ('2.1.0', 'x==1')})


@pytest.mark.parametrize('originals', [False, True])
def test_the_advice_keeps_to_the_installed_family(monkeypatch, originals):
    monkeypatch.setattr(requirements, '_originals_are_installed', lambda: originals)
    family = 'mmdet==3.3.0' if originals else 'onedl-mmdetection==3.5.1'
    with pytest.raises(ImportError, match=f"'pip install {family}'"):
        check_requirements({'mmdet': ('99.0', 'onedl-mmdetection==3.5.1')})
