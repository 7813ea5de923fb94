"""The public surface: what configs, commands and documentation can name.

``public_surface.txt`` lists it. A change that removes or renames an entry breaks users' configs,
scripts or code, so it fails here. After an intended change or an addition, write the list again by
``python tests/test_public_surface.py`` and mention it in the changelog.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_name('public_surface.txt')
# Classes that configs build without a registry.
BUILT_BY_NAME = ('Term', 'GradientShare', 'Teacher')


def documented_names() -> Iterator[str]:
    """Yield ``import module.name`` for every import from mmkd in the documentation."""
    for path in [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *ROOT.glob('docs/*.md')]:
        text = path.read_text()
        for module, names in re.findall(r'from (mmkd[\w.]*) import ([\w, ]+)', text):
            yield from (f'import {module}.{name.strip()}' for name in names.split(','))
        yield from (f'import mmkd.{name}' for name in re.findall(r'\bmmkd\.(\w+)\(', text))


def tool_options() -> Iterator[str]:
    """Yield ``option tool argument`` for every argument of every command and tool."""
    for path in [*ROOT.glob('mmkd/cli/*.py'), *ROOT.glob('tools/**/*.py')]:
        tool = path.relative_to(ROOT).with_suffix('')
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'add_argument':
                names = [a.value for a in node.args if isinstance(a, ast.Constant)]
                yield from (f'option {tool} {name}' for name in names)


def config_keys() -> Iterator[str]:
    """Yield ``key Type.argument`` for everything that a config can build."""
    for path in ROOT.glob('mmkd/**/*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            is_registered = any('register_module' in ast.unparse(d) for d in node.decorator_list)
            if not is_registered and node.name not in BUILT_BY_NAME:
                continue
            yield f'type {node.name}'
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == '__init__':
                    arguments = [*method.args.posonlyargs, *method.args.args]
                    arguments = [*arguments[1:], *method.args.kwonlyargs]
                    yield from (f'key {node.name}.{a.arg}' for a in arguments)


def public_surface() -> list[str]:
    return sorted({*documented_names(), *tool_options(), *config_keys()})


def test_public_surface_equals_its_list():
    listed = LIST.read_text().splitlines()
    assert public_surface() == listed


def test_documented_names_can_be_imported():
    for entry in documented_names():
        module, _, name = entry.removeprefix('import ').rpartition('.')
        assert hasattr(importlib.import_module(module), name), entry


if __name__ == '__main__':
    LIST.write_text('\n'.join(public_surface()) + '\n')
