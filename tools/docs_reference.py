"""Write docs/reference.md: every key of a config and every option of a command, from the code."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import mmkd_cli

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'reference.md'
# The parts of a distillation that are not losses, by the key under which a config has them.
PARTS = {
    'model': ('mmkd/distillation/distiller.py', 'Distiller'),
    'model.teacher': ('mmkd/distillation/teacher.py', 'Teacher'),
    'model.distill.NAME': ('mmkd/distillation/term.py', 'Term'),
    "weight=dict(type='gradient_share')": ('mmkd/distillation/gradient_share.py', 'GradientShare'),
}
# Arguments that the code passes, and no config.
PASSED = {'Term': ('name',), 'Teacher': ('student_preprocessor',)}


def class_node(path: Path, name: str) -> ast.ClassDef:
    """Return the definition of a class."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return next(n for n in nodes if isinstance(n, ast.ClassDef) and n.name == name)


def registered_losses() -> Iterator[tuple[Path, str]]:
    """Yield the file and the name of every registered loss."""
    for path in sorted((ROOT / 'mmkd/losses').glob('*_loss.py')):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.decorator_list:
                yield path, node.name


def meanings(docstring: str) -> dict[str, str]:
    """Return what the ``Args`` section of a docstring says of each argument."""
    section = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', docstring, re.DOTALL | re.MULTILINE)
    found = {}
    for names, text in re.findall(
        r'^ {4}([\w*, ]+): (.*?)(?=^ {4}\S|\Z)', section[1] if section else '', re.DOTALL | re.M
    ):
        for name in names.split(','):
            found[name.strip()] = ' '.join(text.split()).replace('``', '`')
    return found


def key_rows(node: ast.ClassDef) -> list[list[str]]:
    """Return key, default and meaning of each argument of a class."""
    init = next(
        (f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == '__init__'), None
    )
    if init is None:
        return []
    arguments, said = init.args.args[1:], meanings(ast.get_docstring(node) or '')
    defaults = [None] * (len(arguments) - len(init.args.defaults)) + init.args.defaults
    return [
        [
            f'`{a.arg}`',
            'required' if d is None else f'`{ast.unparse(d)}`',
            sentence(said.get(a.arg, '')),
        ]
        for a, d in zip(arguments, defaults, strict=True)
        if a.arg not in PASSED.get(node.name, ())
    ]


def schedule_rows() -> list[list[str]]:
    """Return name, keys and factor of each schedule."""
    rows = []
    for node in ast.parse((ROOT / 'mmkd/distillation/schedules.py').read_text()).body:
        if isinstance(node, ast.FunctionDef) and ast.unparse(node.returns) == 'Schedule':
            keys = ', '.join(f'`{a.arg}`' for a in node.args.args)
            text = ast.get_docstring(node).splitlines()[0].removeprefix('Return ')
            rows.append([f'`{node.name}`', keys, text.replace('``', '`')])
    return [row for row in rows if row[0] != '`build_schedule`']


class ParserFound(Exception):  # noqa: N818  (it reports no error)
    """Ends a command as soon as it reads its arguments."""


def command_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command, with which it would read its arguments."""

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise ParserFound(parser)

    with (
        mock.patch('sys.argv', [name]),
        mock.patch.object(argparse.ArgumentParser, 'parse_args', stop),
    ):
        try:
            mmkd_cli.run(name)
        except ParserFound as found:
            return found.args[0]
    raise RuntimeError(f'mmkd {name} does not read arguments')


def option_rows(parser: argparse.ArgumentParser) -> list[list[str]]:
    """Return each argument of a parser: its name with what it takes, its default, its help."""
    formatter, rows = parser._get_formatter(), []
    for action in parser._actions:
        if action.dest == 'help' or action.help == argparse.SUPPRESS:
            continue
        name = ', '.join(action.option_strings)
        if not name or action.nargs != 0:
            metavar = action.dest.upper() if name else action.dest
            name = f'{name} {formatter._format_args(action, metavar)}'.strip()
        # Some texts name a default that only the code knows, such as another argument.
        text = formatter._expand_help(action)
        text, default = re.fullmatch(r'(.*?)(?: \(default: (.*)\))?', text).groups()
        rows.append([f'`{name}`', default_text(action, default), sentence(text)])
    return rows


def default_text(action: argparse.Action, said: str | None) -> str:
    """Return what an argument is if it is left out; ``said`` is what its help says of that."""
    if action.required and action.nargs != '*':
        return 'required'
    if action.nargs == 0:
        return 'off'
    value = action.default
    if value in (None, []):
        return said or ''
    return '`' + ' '.join(map(str, value if isinstance(value, list) else [value])) + '`'


def sentence(text: str) -> str:
    """Return a text that begins with a capital and, if it has several words, ends with a stop."""
    stop = '.' if ' ' in text and not text.endswith('.') else ''
    return text[:1].upper() + text[1:] + stop


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; a bar within a cell is escaped."""
    lines = [header, ['---'] * len(header), *rows]
    cells = (' | '.join(cell.replace('|', '\\|') for cell in line) for line in lines)
    return '\n'.join(f'| {line} |' for line in cells) + '\n'


def reference() -> str:
    """Return the text of the page."""
    parts = ['# Reference\n\nMade by `tools/docs_reference.py` from the code; do not edit.\n']
    parts.append('## Keys of a distillation\n')
    header = ['key', 'default', 'meaning']
    for key, (path, name) in PARTS.items():
        parts += [f'### `{key}`\n', table(header, key_rows(class_node(ROOT / path, name)))]
    parts += [
        '### `schedule`\n\nIt multiplies the weight by a factor. Its keys count iterations, or '
        'epochs with `by_epoch=True`.\n',
        table(['type', 'keys', 'factor'], schedule_rows()),
    ]
    parts.append('## Losses\n\nWrite a loss as `loss=dict(type=NAME, ...)` of a term.\n')
    for path, name in registered_losses():
        rows = key_rows(class_node(path, name))
        parts += [f'### `{name}`\n', table(header, rows) if rows else 'It has no parameters.\n']
    parts.append('## Commands\n\nAn option without a default changes nothing if it is left out.\n')
    for name, line in mmkd_cli.COMMANDS.items():
        rows = option_rows(command_parser(name))
        parts += [
            f'### `mmkd {name}`\n\n{sentence(line)}\n',
            table(['option', 'default', 'meaning'], rows),
        ]
    return '\n'.join(parts)


if __name__ == '__main__':
    argparse.ArgumentParser(allow_abbrev=False, description=__doc__).parse_args()
    PAGE.write_text(reference())
