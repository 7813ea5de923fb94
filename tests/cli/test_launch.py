"""The arguments that the tools share."""

import argparse
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from mmkd.cli.arguments import config_parser
from mmkd.config.options import merge_options
from mmkd.errors import UserError


def parsed(*options: str) -> Config:
    """A small config under ``--cfg-options``."""
    parser = config_parser('a tool')
    parser.exit_on_error = False
    config = Config(dict(model=dict(type='A', heads=[dict(size=1), 2], name='x'), a=0, b=dict(c=0)))
    merge_options(config, parser.parse_args(['x.py', '--cfg-options', *options]).cfg_options)
    return config


def test_merge_options_values_reach_the_config():
    config = parsed('model.heads.0.size=2', 'a=[(1, 2.5), None, true, x]', 'b.c="y=1"')
    assert config.model.heads == [dict(size=2), 2]
    assert config.a == [(1, 2.5), None, True, 'x'] and config.b.c == 'y=1'


@pytest.mark.parametrize('option', ['a', 'a=[1,(2]', 'a=1,(2'])
def test_cfg_options_error_quotes_value(option):
    with pytest.raises(argparse.ArgumentError, match='expected key=value') as error:
        parsed(option)
    assert repr(option) in str(error.value)


@pytest.mark.parametrize(
    'options', [['model.name.y=1'], ['model.heads.7=1'], ['model.heads.x=1'], ['a=1', 'a.b=2']]
)
def test_merge_options_unfitting_option_raises_user_error(options):
    with pytest.raises(UserError) as error:
        parsed(*options)
    keys = ', '.join(option.split('=')[0] for option in options)
    assert str(error.value).startswith(f'--cfg-options {keys}: ')


keys = st.text('model.heads01²', max_size=9) | st.sampled_from(['model', 'model.heads', 'a.b'])
values = st.text(max_size=9) | st.text('[](),1.e"\' ', max_size=14)


@pytest.mark.fuzz
@given(st.lists(st.text(max_size=9) | st.builds('{}={}'.format, keys, values), max_size=4))
def test_load_config_from_args_any_option_raises_documented_errors_only(options):
    try:
        config = parsed(*options)
    except (argparse.ArgumentError, UserError):
        pass
    except SystemExit as usage:  # an option that begins with a dash
        asks_for_help = any(option.startswith(('-h', '--help')) for option in options)
        assert usage.code == 2 or (usage.code == 0 and asks_for_help)
    else:
        assert isinstance(config.to_dict(), dict)


ONE_PROCESS = """
import pathlib
import sys

import torch
from torch.nn.parallel import DistributedDataParallel

from mmkd.cli.run_tool import run_tool


def main():
    store = f'file://{sys.argv[1]}/store'
    torch.distributed.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    model.runner = [model]
    model(torch.ones(1, 2)).sum().backward()


run_tool(main)
print(*(path.read_text().strip() for path in pathlib.Path('/proc/self/task').glob('*/comm')))
"""


def test_run_tool_end_leaves_no_group_thread(tmp_path):
    command = [sys.executable, '-c', ONE_PROCESS, tmp_path]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert 'python' in said and 'gloo' not in said
