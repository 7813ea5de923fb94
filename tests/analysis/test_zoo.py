"""Each family of both model zoos, as student and as teacher."""

import pytest

from mmkd.analysis.zoo import step_as_student, step_as_teacher, zoo_families

FAMILIES = [*zoo_families('mmseg'), *zoo_families('mmdet')]


def test_zoo_families_are_those_of_both_libraries():
    folders = {family.partition('/')[0] for family in FAMILIES}
    assert len(folders) == len(FAMILIES) > 150
    assert {'mmseg::segformer', 'mmseg::pidnet', 'mmdet::dino', 'mmdet::htc'} <= folders


@pytest.mark.slow
@pytest.mark.parametrize('step', [step_as_student, step_as_teacher])
@pytest.mark.parametrize('family', FAMILIES)
def test_zoo_family_distils_one_step(family, step, tmp_path):
    result = step(family, tmp_path)
    if result.startswith('excluded'):
        pytest.skip(result)
    assert result.startswith('ok')
