import argparse

import pytest
from mmengine.config import Config, DictAction

from mmkd.config.options import ConfigOptions, merge_options
from mmkd.errors import UserError


@pytest.mark.parametrize(
    'option, message',
    [
        ('train_cgf.max_iters', "not 'train_cgf'; did you mean 'train_cfg'?"),
        ('max_iters', 'expected a key of the config or of MMEngine, not'),
        ('custom_hook.0.type', "did you mean 'custom_hooks'?"),
        ('crop', "not 'crop'; did you mean 'crop_size'?"),
    ],
)
def test_merge_options_unknown_key_raises_user_error(option, message):
    config = Config(dict(model=dict(type='A'), crop_size=4))
    with pytest.raises(UserError) as error:
        merge_options(config, {option: 1})
    assert message in str(error.value) and option in str(error.value)


def test_merge_options_variable_of_the_config_is_named(logged):
    config = Config(dict(model=dict(type='A', size=4), crop_size=4))
    merge_options(config, {'crop_size': 8})
    assert '--cfg-options crop_size: crop_size is a variable of the config' in logged.text


def test_merge_options_keys_of_mmengine_need_not_be_there(logged):
    config = Config(dict(model=dict(type='A')))
    merge_options(config, {'train_cfg.max_iters': 4, 'log_level': 'INFO', 'compile': True})
    assert config.train_cfg.max_iters == 4 and not logged.text


@pytest.mark.parametrize(
    'option, message',
    [
        ('default_hooks.chekpoint.interval', 'did you mean default_hooks.checkpoint?'),
        ('default_hooks.unlabelled.ratio', 'add it'),
        ('custom_hooks', 'add it'),
    ],
)
def test_merge_options_hook_without_a_type_raises_user_error(option, message):
    config = Config(
        dict(model=dict(type='A'), default_hooks=dict(checkpoint=dict(type='X'), timer=None))
    )
    with pytest.raises(UserError) as error:
        merge_options(config, {option: [dict(interval=2)] if option == 'custom_hooks' else 2})
    key = option.rpartition('.')[0] or option
    assert str(error.value).startswith(key) and f'expected a type; {message}' in str(error.value)


def parse(value, action=ConfigOptions):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=action)
    return parser.parse_args(['--cfg-options', f'a.b={value}']).cfg_options['a.b']


@pytest.mark.parametrize(
    'value, expected',
    [
        ('/my data/a', '/my data/a'),
        ('/my (old) data/a', '/my (old) data/a'),
        (" '/my data/a' ", '/my data/a'),
        ("['traffic light','car']", ['traffic light', 'car']),
        ('[traffic light , car]', ['traffic light', 'car']),
        ('(("a b", c), [d  e])', (('a b', 'c'), ['d  e'])),
        ('"2024"', '2024'),
        ("['0', '1']", ['0', '1']),
        ("'0','1'", ['0', '1']),
        ("Bob's and Al's", "Bob's and Al's"),
        ('1 2', '1 2'),
        ('""', ''),
    ],
)
def test_config_options_texts_keep_spaces_and_quoted_numbers(value, expected):
    assert parse(value) == expected


@pytest.mark.parametrize(
    'value',
    '1 1.5 1e-3 true None a a=b 1,2 a,b [] () [1,2] (1,2) [(1,2),[a,b],c]'.split()
    + ['', '(1, 2)', '[ (1, 2) , [a, b] ]', ' 5 ', '"(1, 2)"', '"[a, b]"', '["a", "b"]', "'a'"],
)
def test_config_options_other_values_are_those_of_mmengine(value):
    ours, theirs = parse(value), parse(value, DictAction)
    assert ours == theirs and type(ours) is type(theirs)
