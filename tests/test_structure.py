"""The rooms of the package: few modules at the top, and no two folders that need each other."""

import ast
import graphlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'mmkd'


def imported_modules(path: Path) -> set[str]:
    """Return the dotted names that a file imports, those inside of functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f'{node.module}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def room_imports() -> dict[str, set[str]]:
    """Return, for each folder of mmkd, the other folders that its files import."""
    rooms = {path.name for path in PACKAGE.iterdir() if (path / '__init__.py').is_file()}
    imports = {room: set() for room in rooms}
    for room in rooms:
        for path in (PACKAGE / room).rglob('*.py'):
            parts = [name.split('.') for name in imported_modules(path)]
            used = {p[1] for p in parts if p[0] == 'mmkd' and len(p) > 1}
            imports[room] |= (used & rooms) - {room}
    return imports


def test_rooms_imports_have_no_cycle():
    order = list(graphlib.TopologicalSorter(room_imports()).static_order())
    assert order.index('ops') < order.index('losses') < order.index('engine')


def test_top_of_package_has_at_most_six_modules():
    assert len(list(PACKAGE.glob('*.py'))) <= 6


def test_ops_import_nothing_of_mmkd_but_errors():
    for path in (PACKAGE / 'ops').glob('*.py'):
        own = {name for name in imported_modules(path) if name.startswith('mmkd.')}
        outside = {name for name in own if not name.startswith(('mmkd.ops', 'mmkd.errors'))}
        assert not outside, f'{path.name} imports {sorted(outside)}'


def test_distillation_imports_no_architecture_dataset_or_picture():
    assert not room_imports()['distillation'] & {'models', 'datasets', 'visualization', 'engine'}
