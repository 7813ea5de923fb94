"""The arguments that the tools share."""

import argparse
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from mmkd.engine.launch import config_parser, merge_options
from mmkd.errors import UserError


def read(*options: str) -> Config:
    """A small config under ``--cfg-options``."""
    parser = config_parser('a tool')
    parser.exit_on_error = False
    config = Config(dict(model=dict(type='A', heads=[dict(size=1), 2], name='x')))
    merge_options(config, parser.parse_args(['x.py', '--cfg-options', *options]).cfg_options)
    return config


def test_options_reach_the_config():
    config = read('model.heads.0.size=2', 'a=[(1, 2.5), None, true, x]', 'b.c="y=1"')
    assert config.model.heads == [dict(size=2), 2]
    assert config.a == [(1, 2.5), None, True, 'x'] and config.b.c == 'y=1'


@pytest.mark.parametrize('option', ['a', 'a=[1,(2]', 'a=1,(2'])
def test_what_is_no_option_is_quoted(option):
    with pytest.raises(argparse.ArgumentError, match='allowed: key=value') as error:
        read(option)
    assert repr(option) in str(error.value)


@pytest.mark.parametrize(
    'options', [['model.name.y=1'], ['model.heads.7=1'], ['model.heads.x=1'], ['a=1', 'a.b=2']]
)
def test_options_that_fit_nothing_are_named(options):
    with pytest.raises(UserError) as error:
        read(*options)
    keys = ', '.join(option.split('=')[0] for option in options)
    assert str(error.value).startswith(f'--cfg-options {keys} do not fit: ')


keys = st.text('model.heads01²', max_size=9) | st.sampled_from(['model', 'model.heads', 'a.b'])
values = st.text(max_size=9) | st.text('[](),1.e"\' ', max_size=14)


@pytest.mark.fuzz
@given(st.lists(st.text(max_size=9) | st.builds('{}={}'.format, keys, values), max_size=4))
def test_the_documented_errors_are_all(options):
    try:
        config = read(*options)
    except (argparse.ArgumentError, UserError):
        pass
    except SystemExit as usage:  # an option that begins with a dash
        assert usage.code == 2
    else:
        assert isinstance(config.to_dict(), dict)


ONE_PROCESS = """
import pathlib
import sys

import torch
from torch.nn.parallel import DistributedDataParallel

from mmkd.engine.launch import run_tool


def main():
    store = f'file://{sys.argv[1]}/store'
    torch.distributed.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    model.runner = [model]
    model(torch.ones(1, 2)).sum().backward()


run_tool(main)
print(*(path.read_text().strip() for path in pathlib.Path('/proc/self/task').glob('*/comm')))
"""


def test_no_thread_of_the_group_is_left_when_a_tool_ends(tmp_path):
    command = [sys.executable, '-c', ONE_PROCESS, tmp_path]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert 'python' in said and 'gloo' not in said
