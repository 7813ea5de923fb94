"""The console command ``mmkd``.

This module stands beside the package: importing any part of ``mmkd`` registers all of it, which
takes seconds, and ``mmkd --help`` needs none of it.
"""

import argparse
import difflib
import runpy
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

COMMANDS = {
    'distill': 'write the config of a distillation for a student and a teacher, and train it',
    'check': 'check a distillation before it trains: teacher, taps, gradients, cost',
    'train': 'train a config: a teacher, a student, or a distillation with its teacher',
    'test': 'evaluate a checkpoint on the test data of a config',
    'ablate': 'train several configs with several seeds and compare them in a table',
    'report': 'compare finished runs on one HTML page: scores, curves, pictures',
    'export': 'write a student as ONNX, TorchScript or safetensors and check the file',
    'infer': 'run an exported student on images or videos, without PyTorch',
    'demo': 'train a teacher, a baseline and a distilled student on rendered streets',
    'config': 'print a config with everything that it inherits',
}
"""Each subcommand with its line of help. ``mmkd/cli/NAME.py`` holds its ``main``."""

_USAGE = """\
usage: mmkd COMMAND ...

Distil a large, frozen teacher into a small student.

commands:
{commands}

'mmkd COMMAND --help' lists the options of a command. Exit status: 0 done, 2 an error that
you can fix (one line says how), 1 any other error, 130 stopped by Ctrl-C.
"""


def main(words: Sequence[str] | None = None) -> None:
    """Run the subcommand that the command line names."""
    name, *rest = (sys.argv[1:] if words is None else words) or ['']
    if name in ('-h', '--help', ''):
        lines = (f'  {command:<8}{line}' for command, line in COMMANDS.items())
        print(_USAGE.format(commands='\n'.join(lines)), end='')
        sys.exit(0 if name else 2)
    if name == '--version':
        print(runpy.run_path(str(_package() / 'version.py'))['__version__'])
    elif name in COMMANDS:
        sys.argv = [f'mmkd {name}', *rest]
        run(name)
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f'did you mean {near[0]}?' if near else "'mmkd --help' lists the commands"
        _fail(f'mmkd {name}: expected a command; {hint}')


def run(name: str) -> None:
    """Run a subcommand on the arguments in ``sys.argv``."""
    if name == 'demo' and any(word.partition('=')[0] == '--quick' for word in sys.argv):
        sys.argv = ['mmkd infer', *_quick_arguments(sys.argv[1:])]
        name = 'infer'
    if name == 'infer':  # a script that also runs where there is no mmkd
        infer = _package() / '.mim/tools/deploy/infer.py'
        try:
            runpy.run_path(str(infer), run_name='__main__')
        except ModuleNotFoundError as error:
            _fail(f'{error}; run: pip install onnxruntime opencv-python-headless')
        return
    try:
        import_module('mmkd')
    except ImportError as error:  # it checks what it needs
        _fail(' '.join(str(error).split()))
    run_tool = import_module('mmkd.cli.run_tool').run_tool
    run_tool(import_module(f'mmkd.cli.{name}').main)


def _quick_arguments(words: Sequence[str]) -> list[str]:
    """Return the arguments of ``mmkd infer`` that ``mmkd demo --quick`` stands for.

    The student and the street in the package answer in a second, because they need no PyTorch.
    """
    folder = _package() / 'cli'
    parser = argparse.ArgumentParser(prog='mmkd demo', allow_abbrev=False)
    parser.add_argument('--quick', nargs='?', const=str(folder / 'quick_street.png'))
    parser.add_argument('--out', default='work_dirs/demo')
    args = parser.parse_args(words)
    return [str(folder / 'quick_student.onnx'), args.quick, f'--out={args.out}']


def _package() -> Path:
    return Path(find_spec('mmkd').origin).parent


def _fail(line: str) -> None:
    print(f'error: {line}', file=sys.stderr)
    sys.exit(2)


if __name__ == '__main__':
    main()
