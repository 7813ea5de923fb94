import pytest

from mmkd import requirements
from mmkd.requirements import check_requirements


def test_check_requirements_of_installed_packages_passes():
    assert check_requirements() is None  # it raises otherwise


@pytest.mark.parametrize(
    'required, message',
    [
        ({'no_such': ('1.0', 'x==1')}, "no_such >= 1.0, which is missing: .*'pip install x==1'"),
        ({'torch': ('99.0', 'torch==99')}, "torch >= 99.0, found .*'pip install torch==99'"),
        ({'mmcv': ('99.0', 'mmcv==99')}, "mmcv >= 99.0, found .*'pip install mmcv==99'"),
    ],
)
def test_check_requirements_failure_error_is_one_sentence(required, message, monkeypatch):
    monkeypatch.setattr(requirements, '_originals_are_installed', lambda: False)
    with pytest.raises(ImportError, match=message) as error:
        check_requirements(required)
    assert '\n' not in str(error.value)


def test_check_requirements_broken_package_error_has_a_message(tmp_path, monkeypatch):
    (tmp_path / 'broken_build.py').write_text("raise RuntimeError('operator nms\\ndoes not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r'does not import \(operator nms does not exist\)'):
        check_requirements({'broken_build': ('1.0', 'x==1')})


@pytest.mark.parametrize('originals', [False, True])
def test_check_requirements_advice_keeps_to_installed_family(monkeypatch, originals):
    monkeypatch.setattr(requirements, '_originals_are_installed', lambda: originals)
    family = 'mmdet==3.3.0' if originals else 'onedl-mmdetection==3.5.1'
    with pytest.raises(ImportError, match=f"'pip install {family}'"):
        check_requirements({'mmdet': ('99.0', 'onedl-mmdetection==3.5.1')})
