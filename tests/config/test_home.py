import pytest
from mmengine.config import Config

from mmkd.config.home import expand_argument, expand_home
from mmkd.config.load import load_config
from mmkd.config.options import merge_options


@pytest.fixture(autouse=True)
def _home(monkeypatch):
    monkeypatch.setenv('HOME', '/users/me')


def test_expand_home_paths_at_any_depth_are_expanded():
    config = dict(a='~/x.pth', b=[dict(c=('~', '~/y'))], d='a~/b', e='~=3', f=None, g=['~/z'])
    expand_home(config)
    assert config == dict(
        a='/users/me/x.pth', b=[dict(c=('/users/me', '/users/me/y'))], d='a~/b', e='~=3', f=None,
        g=['/users/me/z'],
    )  # fmt: skip


def test_load_config_home_in_options_and_bases_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'base.py').write_text("model = dict(teacher=dict(checkpoint='~/t/best.pth'))")
    (tmp_path / 'own.py').write_text("_base_ = '~/base.py'\nload_from = '~/s.pth'\ndata_root = ''")
    config = load_config('~/own.py')
    assert config.model.teacher.checkpoint == f'{tmp_path}/t/best.pth'
    assert config.load_from == f'{tmp_path}/s.pth'
    merge_options(config, {'data_root': '~/data'})
    assert config.data_root == f'{tmp_path}/data'
    assert isinstance(config, Config)


@pytest.mark.parametrize(
    'argument, expanded',
    [
        ('~/a.py', '/users/me/a.py'),
        ('--work-dir=~/runs', '--work-dir=/users/me/runs'),
        ('model.teacher.checkpoint=~/b.pth', 'model.teacher.checkpoint=/users/me/b.pth'),
        ('a~/b', 'a~/b'),
        ('--resume', '--resume'),
    ],
)
def test_expand_argument_home_is_expanded(argument, expanded):
    assert expand_argument(argument) == expanded
