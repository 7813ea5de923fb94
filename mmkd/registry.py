"""mmkd's registries: children of MMEngine's, so every type of every OpenMMLab library resolves."""

import difflib
import inspect
import re
from collections.abc import Iterator

from mmengine import registry as _root

_UNKNOWN_TYPE = re.compile(r'(.+?) is not in the (?:\S+::)?(.+?) registry')
_UNKNOWN_ARGUMENT = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")

MODELS = _root.Registry(
    'model',
    parent=_root.MODELS,
    scope='mmkd',
    locations=['mmkd.distiller', 'mmkd.losses', 'mmkd.models'],
)
TASK_UTILS = _root.Registry(
    'task util', parent=_root.TASK_UTILS, scope='mmkd', locations=['mmkd.models']
)
DATASETS = _root.Registry(
    'dataset', parent=_root.DATASETS, scope='mmkd', locations=['mmkd.datasets']
)
TRANSFORMS = _root.Registry(
    'transform', parent=_root.TRANSFORMS, scope='mmkd', locations=['mmkd.datasets']
)
HOOKS = _root.Registry('hook', parent=_root.HOOKS, scope='mmkd', locations=['mmkd.engine'])
DATA_SAMPLERS = _root.Registry(
    'data sampler', parent=_root.DATA_SAMPLERS, scope='mmkd', locations=['mmkd.datasets']
)
METRICS = _root.Registry(
    'metric', parent=_root.METRICS, scope='mmkd', locations=['mmkd.evaluation']
)


def why_not_built(error: Exception) -> str | None:
    """In one line, why MMEngine could not build what a config describes, and what is allowed.

    Returns:
        The line for a type or an argument that does not exist; None for every other error.
    """
    text = str(error.args[0]) if error.args else ''
    if isinstance(error, KeyError) and (match := _UNKNOWN_TYPE.match(text)):
        name, kind = match.groups()
        near = difflib.get_close_matches(name, sorted(_types(kind)), n=3, cutoff=0.5)
        hint = f'; nearest: {", ".join(near)}' if near else ''
        return f'type={name!r} is not a registered {kind}{hint}'
    if isinstance(error, TypeError) and (match := _UNKNOWN_ARGUMENT.search(text)):
        name, argument = match.groups()
        line = f'{name} takes no {argument!r}'
        return f'{line}; allowed: {_arguments(name)}' if name in _types() else line
    return None


def _arguments(name: str) -> str:
    parameters = inspect.signature(_types()[name]).parameters.values()
    named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return ', '.join(named) or 'nothing'


def _types(kind: str | None = None) -> dict[str, type]:
    """What is registered, by name, in all libraries' registries of a kind, or in all of them."""
    roots = (r for r in vars(_root).values() if isinstance(r, _root.Registry))
    return {
        name: registered
        for root in roots
        if kind in (None, root.name)
        for registry in _family(root)
        for name, registered in registry.module_dict.items()
    }


def _family(registry: _root.Registry) -> Iterator[_root.Registry]:
    yield registry
    for child in registry.children.values():
        yield from _family(child)
