import pytest
from mmengine.config import Config
from mmseg.registry import VISBACKENDS

from mmkd.config.checks import reporting
from mmkd.config.checks.reporting import check_log_level, check_visualizer
from mmkd.errors import UserError


@pytest.mark.parametrize(
    'backends, message',
    [
        ([dict(type='Foo')], 'vis_backends.0.type=Foo: expected one of .*LocalVisBackend'),
        (dict(type='LocalVisBackend'), 'vis_backends=.*: expected a list of dicts'),
        (['LocalVisBackend'], 'vis_backends=.*: expected a list of dicts'),
    ],
)
def test_check_visualizer_unknown_backend_is_rejected(backends, message):
    with pytest.raises(UserError, match=message):
        check_visualizer(Config(dict(visualizer=dict(vis_backends=backends))))


def test_check_visualizer_takes_a_backend_of_the_configs_library():
    own = type('OwnBackend', (), {})
    VISBACKENDS.module_dict['OwnBackend'] = own
    try:
        check_visualizer(
            Config(
                dict(default_scope='mmseg', visualizer=dict(vis_backends=[dict(type='OwnBackend')]))
            )
        )
    finally:
        del VISBACKENDS.module_dict['OwnBackend']


@pytest.mark.parametrize('level', ['DEBUGG', 'debug', None, 1.0])
def test_check_log_level_unknown_is_rejected(level):
    with pytest.raises(UserError, match=f'log_level={level!r}: expected one of .*INFO'):
        check_log_level(Config(dict(log_level=level)))


@pytest.mark.parametrize('known', [dict(), dict(log_level='WARNING'), dict(log_level=10)])
def test_check_log_level_known_is_accepted(known):
    check_log_level(Config(known))


def test_check_visualizer_missing_package_is_rejected(monkeypatch):
    monkeypatch.setattr(reporting, 'find_spec', lambda name: None)
    config = Config(dict(visualizer=dict(vis_backends=[dict(type='LocalVisBackend')])))
    check_visualizer(config)
    config.visualizer.vis_backends.append(dict(type='mmengine.WandbVisBackend'))
    with pytest.raises(UserError, match='vis_backends.1.type=WandbVisBackend: expected wandb'):
        check_visualizer(config)
