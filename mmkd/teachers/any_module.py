"""A teacher that is any ``torch.nn.Module``, by import path."""

from collections.abc import Callable, Mapping
from importlib import import_module

from torch import nn

from mmkd.errors import UserError, one_line


def build_module(kind: str | Callable, arguments: Mapping) -> nn.Module:
    """Build ``kind(**arguments)``.

    Args:
        kind: A class, or a function that returns a network; or its import path ``package.name``.
        arguments: Its arguments by name.

    Raises:
        UserError: It does not import, does not take the arguments or is not a network.
    """
    make = _find(kind) if isinstance(kind, str) else kind
    try:
        network = make(**arguments)
    except Exception as error:  # foreign code may raise anything
        raise UserError(
            f'model.teacher.type={_name(kind)} with arguments={dict(arguments)}: expected a '
            f'network; it raises {type(error).__name__}: {one_line(error)}'
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(
            f'model.teacher.type={_name(kind)}: expected a torch.nn.Module, or a function that '
            f'returns one; it gives a {type(network).__name__}'
        )
    return network


def _find(path: str) -> Callable:
    package, _, name = path.rpartition('.')
    if not package:
        raise UserError(f'model.teacher.type={path}: expected an import path, such as my_pkg.Net')
    try:
        module = import_module(package)
    except Exception as error:  # importing runs foreign code
        raise UserError(
            f'model.teacher.type={path}: expected a module that imports ({one_line(error)}); put '
            'its folder on PYTHONPATH'
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise UserError(f'model.teacher.type={path}: {package} has no class {name}; correct it')
    return found


def _name(kind: str | Callable) -> str:
    return kind if isinstance(kind, str) else f'{kind.__module__}.{kind.__qualname__}'
