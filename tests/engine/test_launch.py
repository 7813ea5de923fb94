"""The arguments that the tools share."""

import argparse

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkd.engine.launch import config_parser, read_config
from mmkd.errors import UserError


@pytest.fixture
def read(tmp_path):
    """Reads a small config with ``--cfg-options``."""
    path = tmp_path / 'config.py'
    path.write_text("model = dict(type='A', heads=[dict(size=1), 2], name='x')\nwork_dir = 'w'\n")

    def read(*options: str):
        parser = config_parser('a tool')
        parser.exit_on_error = False
        return read_config(parser.parse_args([str(path), '--cfg-options', *options]))

    return read


def test_options_reach_the_config(read):
    config = read('model.heads.0.size=2', 'a=[(1, 2.5), None, true, x]', 'b.c="y=1"')
    assert config.model.heads == [dict(size=2), 2]
    assert config.a == [(1, 2.5), None, True, 'x'] and config.b.c == 'y=1'


@pytest.mark.parametrize('option', ['a', 'a=[', 'a=1,(2'])
def test_what_is_no_option_is_quoted(read, option):
    with pytest.raises(argparse.ArgumentError, match='allowed: key=value') as error:
        read(option)
    assert repr(option) in str(error.value)


@pytest.mark.parametrize(
    'options', [['model.name.y=1'], ['model.heads.7=1'], ['model.heads.x=1'], ['a=1', 'a.b=2']]
)
def test_options_that_fit_nothing_are_one_line(read, options):
    with pytest.raises(UserError, match='--cfg-options do not fit .*config.py: '):
        read(*options)


keys = st.text('model.heads01²', max_size=9) | st.sampled_from(['model', 'model.heads', 'a.b'])
values = (
    st.text(max_size=9) | st.text('[](),1.e"\' ', max_size=14) | st.sampled_from('[ ( [('.split())
)


@pytest.mark.fuzz
@given(st.lists(st.text(max_size=9) | st.builds('{}={}'.format, keys, values), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_documented_errors_are_all(read, options):
    try:
        config = read(*options)
    except (argparse.ArgumentError, UserError) as error:
        assert '\n' not in str(error)
    except SystemExit as usage:  # an option that begins with a dash
        assert usage.code == 2
    else:
        assert config.work_dir is not None
