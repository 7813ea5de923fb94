"""Find and load configs."""

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mmkd.config.home import expand_home
from mmkd.config.student import is_distillation
from mmkd.errors import UserError, one_line

ROOT = (Path(__file__).resolve().parents[1] / '.mim' / 'configs').resolve().parent
"""The folder of ``configs/`` and ``tools/``: the repository's, or ``mmkd/.mim`` of a wheel."""

_NO_BASE = re.compile(r"because (\w+) is a dict in the child config but is of type <class '(\w+)'>")


def load_config(name: str) -> Config:
    """Load a config by path, or from an installed library as ``mmseg::folder/file.py``.

    A relative path is looked up in the working directory, then in mmkd's folder.

    Raises:
        UserError: The config does not exist, cannot be read, or does not have a model.
    """
    name = os.path.expanduser(name)
    config = _load_file(installed_config(name) if '::' in name else _own_config(name))
    if not isinstance(config.get('model'), dict):
        raise UserError(f'config {name}: expected a model; give a whole config, not a base')
    return config


def load_distillation(name: str) -> Config:
    """Load a config that distils, see :func:`load_config`.

    Raises:
        UserError: The config does not exist, or does not distil.
    """
    config = load_config(name)
    if not is_distillation(config):
        raise UserError(
            f'config {name}: model.type={config.model.get("type")}: expected mmkd.Distiller; give '
            'the config of a distillation'
        )
    return config


def config_name(name: str) -> str:
    """Return the name of a config, without folders, library and suffix."""
    return Path(name.rpartition('::')[2]).stem


def _load_file(path: Path) -> Config:
    try:
        config = Config.fromfile(path, import_custom_modules=False)
    except Exception as error:  # a config is a program and can raise any error
        raise UserError(f'config {path}, or one that it inherits{_reason(error)}') from None
    if config.get('custom_imports'):
        import_modules(path, config.custom_imports)
    expand_home(config._cfg_dict)
    return config


def _reason(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f', line {error.lineno}: {error.msg}'
    text = one_line(error, limit=None)
    if isinstance(error, UserError):
        return f': {text}'
    if match := _NO_BASE.search(text):
        key, kind = match.groups()
        if 'list' in kind:
            return (
                f': {key} is a dict, but a list in the base; write all of its parts, such as '
                f'{key}=[dict(part, key=value) for part in _base_.….{key}]'
            )
        return (
            f': {key} is a dict, but of type {kind} in the base; write '
            f'{key}=dict(_delete_=True, ...) to replace it'
        )
    steps = [step for step in extract_tb(error.__traceback__) if step.name == '<module>']
    where = f' ({steps[-1].filename}, line {steps[-1].lineno})' if steps else ''
    return f': {type(error).__name__}: {text}{where}'


def import_modules(path: str | Path, imports: Mapping) -> None:
    """Import the modules that a config names under ``custom_imports``.

    Raises:
        UserError: One cannot be imported, or the key does not hold names of modules.
    """
    allowed = {'imports', 'allow_failed_imports'}
    key = f'config {path}, or one that it inherits: custom_imports'
    if not isinstance(imports, Mapping) or not {'imports'} <= imports.keys() <= allowed:
        raise UserError(f'{key}={imports!r}: expected dict(imports=[...])')
    names = imports['imports']
    if not isinstance(names, str | list | None) or not all(isinstance(n, str) for n in names or ()):
        raise UserError(f'{key}.imports={names!r}: expected names of modules')
    try:
        import_modules_from_strings(**imports)
    except ImportError as error:
        raise UserError(
            f'{key}: {error.__context__}; put the folder of your module on PYTHONPATH'
        ) from None


def _own_config(name: str) -> Path:
    for path in (Path(name), ROOT / name):
        if path.is_file():
            return path
    found = 'is a folder' if Path(name).is_dir() else 'does not exist'
    raise UserError(f'config {name} {found}: expected a file; correct the path')


def installed_config(name: str) -> Path:
    """Return the file of a config ``library::folder/file.py``.

    Raises:
        UserError: The library is not installed, or does not have the config.
    """
    library, _, inside = name.partition('::')
    spec = find_spec(library) if library.isidentifier() else None
    if spec is None or spec.origin is None:
        raise UserError(
            f'config {name}: {library or "no library"} is not installed: expected an installed '
            'library before ::, such as mmseg or mmdet'
        )
    path = Path(spec.origin).parent / '.mim' / 'configs' / inside
    if not path.is_file():
        raise UserError(
            f'config {name}: {library} has no such config: expected a file in {path.parent}'
        )
    return path


def load_work_dir_config(work_dir: str | Path) -> Config:
    """Load the config of the run in a work dir: the one that MMEngine copied, or ``student.py``.

    Raises:
        UserError: The folder does not exist, or does not hold one config that can be read.
    """
    folder = Path(work_dir).expanduser()
    if not folder.is_dir():
        found = 'is a file' if folder.exists() else 'does not exist'
        hint = f'give its folder, {folder.parent}' if folder.exists() else 'correct the path'
        raise UserError(f'{folder} {found}: expected the work dir of a run; {hint}')
    # A config without a file, such as an evaluated student's, is copied under a timestamp.
    other = re.compile(r'student|\d{8}_\d{6}')
    copies = sorted(path for path in folder.glob('*.py') if not other.fullmatch(path.stem))
    if not copies and (folder / 'student.py').is_file():
        copies = [folder / 'student.py']
    if len(copies) != 1:
        found = ', '.join(path.name for path in copies) or 'none'
        raise UserError(f'{folder} holds {found} as configs: expected the work dir of one run')
    config = _load_file(copies[0])
    if not isinstance(config.get('model'), dict):
        raise UserError(
            f'{copies[0]}: model={config.get("model")!r}: expected a dict; is {folder} the work '
            'dir of a run?'
        )
    return config
