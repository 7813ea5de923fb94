import pytest

from mmkd.requirements import check_requirements


def test_what_is_installed_will_do():
    check_requirements()


@pytest.mark.parametrize(
    'required, message',
    [
        ({'no_such': ('1.0', 'x==1')}, "no_such >= 1.0, which is missing: .*'pip install x==1'"),
        ({'torch': ('99.0', 'torch==99')}, "torch >= 99.0, found .*'pip install torch==99'"),
        ({'mmcv': ('99.0', 'onedl-mmcv==99')}, 'MMCV_WITH_OPS=1 pip install'),
    ],
)
def test_one_sentence_says_what_and_how(required, message):
    with pytest.raises(ImportError, match=message) as error:
        check_requirements(required)
    assert '\n' not in str(error.value)
