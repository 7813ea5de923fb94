import pytest
from mmengine.config import Config

from mmkd.config.checks import sections
from mmkd.config.checks.sections import check_library, check_sections
from mmkd.errors import UserError


@pytest.mark.parametrize(
    'key',
    ['env_cfg.mp_cfg', 'train_dataloader.dataset', 'val_dataloader.sampler', 'visualizer'],
)
def test_check_sections_of_another_type_are_rejected(recipe, key):
    check_sections(recipe)
    recipe.merge_from_dict({key: 3})
    with pytest.raises(UserError, match=f'^{key}=3: expected a dict'):
        check_sections(recipe)


@pytest.mark.parametrize('key', ['env_cfg', 'randomness'])
def test_check_sections_that_mmengine_reads_are_not_none(recipe, key):
    recipe[key] = None
    with pytest.raises(UserError, match=f'^{key}=None: expected a dict'):
        check_sections(recipe)
    recipe.pop(key)
    check_sections(recipe)


def test_check_sections_default_scope_is_a_name(recipe):
    recipe.default_scope = 3
    with pytest.raises(UserError, match='default_scope=3: expected the name of a library'):
        check_sections(recipe)


def test_check_library_without_mmpretrain_raises_user_error(monkeypatch):
    config = Config(dict(default_scope='mmpretrain'))
    monkeypatch.setattr(sections, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"default_scope='mmpretrain': .* install 'mmkd\[cla"):
        check_library(config)
    check_library(Config(dict(default_scope='mmdet')))
