import importlib
from pkgutil import resolve_name
from types import ModuleType

import pytest

from mmkd.config import moved_modules


@pytest.mark.parametrize('old', moved_modules._MOVED)
def test_import_old_path_finds_module_and_warns(old, monkeypatch):
    monkeypatch.delitem(importlib.sys.modules, old, raising=False)
    with pytest.warns(FutureWarning, match=f'{old} is now {moved_modules._MOVED[old]}'):
        found = importlib.import_module(old)
    moved = importlib.import_module(moved_modules._MOVED[old])
    if old in moved_modules._RENAMED:
        for name, new in moved_modules._RENAMED[old].items():
            assert getattr(found, name) is resolve_name(new)
        assert all(getattr(found, name) is getattr(moved, name) for name in _public(moved))
    else:
        assert found is moved and moved.__spec__.name == moved_modules._MOVED[old]


def _public(module: ModuleType) -> list[str]:
    return [name for name in vars(module) if not name.startswith('_')]


def test_import_unknown_path_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('mmkd.nothing')
