"""mmkd's registries, children of MMEngine's, so that types of every OpenMMLab library resolve."""

import difflib
import inspect
import re
from collections.abc import Iterator

from mmengine import registry as _root

from mmkd.errors import warn_renamed

_RENAMED = {
    'BroadcastBuffersHook': 'SyncBuffersFromRank0Hook',
    'ClassCountHook': 'CheckNumClassesHook',
    'LoadLabels': 'LoadCheckedAnnotations',
    'LoadStreet': 'RenderStreet',
    'SeedAugmentation': 'SeedTransforms',
    'StreetScenesDetection': 'StreetScenesDet',
    'TeacherScoreHook': 'ValidateTeacherHook',
    'TermScheduleHook': 'LossWeightHook',
    'VOCLayoutDataset': 'CheckedVOCDataset',
}
"""Old names of types that configs of the previous release can still use."""

_UNKNOWN_TYPE = re.compile(r'(.+?) is not in the (?:\S+::)?(.+?) registry')
_MISSING_ARGUMENT = re.compile(
    r'(\w+)\.__init__\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.+)'
)
_UNKNOWN_ARGUMENT = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")


class Registry(_root.Registry):
    """MMEngine's registry, which also finds a type by its name in the previous release."""

    def get(self, key: str) -> type | None:
        """Return the type registered as ``key``, or as the new name of ``key``."""
        name = key.rpartition('.')[2] if isinstance(key, str) else None
        new = _RENAMED.get(name)
        if new is not None and new in self.module_dict:
            warn_renamed(name, new)
            return self.module_dict[new]
        return super().get(key)


MODELS = Registry(
    'model',
    parent=_root.MODELS,
    scope='mmkd',
    locations=['mmkd.distillation', 'mmkd.losses', 'mmkd.models'],
)
WEIGHT_INITIALIZERS = Registry(
    'weight initializer',
    parent=_root.WEIGHT_INITIALIZERS,
    scope='mmkd',
    locations=['mmkd.models'],
)
TASK_UTILS = Registry('task util', parent=_root.TASK_UTILS, scope='mmkd', locations=['mmkd.models'])
DATASETS = Registry('dataset', parent=_root.DATASETS, scope='mmkd', locations=['mmkd.datasets'])
TRANSFORMS = Registry(
    'transform', parent=_root.TRANSFORMS, scope='mmkd', locations=['mmkd.datasets']
)
HOOKS = Registry('hook', parent=_root.HOOKS, scope='mmkd', locations=['mmkd.engine'])
DATA_SAMPLERS = Registry(
    'data sampler', parent=_root.DATA_SAMPLERS, scope='mmkd', locations=['mmkd.datasets']
)
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=_root.OPTIM_WRAPPERS,
    scope='mmkd',
    locations=['mmkd.engine'],
)
METRICS = Registry('metric', parent=_root.METRICS, scope='mmkd', locations=['mmkd.metrics'])


def explain_build_error(error: Exception) -> str | None:
    """Return in one line why MMEngine could not build a config, and what is expected.

    Returns:
        The line for a type or an argument that does not exist, or for an argument that is missing;
        None for every other error.
    """
    text = str(error.args[0]) if error.args else ''
    if isinstance(error, KeyError) and (match := _UNKNOWN_TYPE.match(text)):
        name, kind = match.groups()
        full = {found.rpartition('.')[2]: found for found in _full_names(kind)}
        near = difflib.get_close_matches(name.rpartition('.')[2], sorted(full), n=3, cutoff=0.5)
        hint = f'; nearest: {", ".join(full[found] for found in near)}' if near else ''
        return f'type={name!r} is not a registered {kind}{hint}'
    if isinstance(error, TypeError) and (match := _UNKNOWN_ARGUMENT.search(text)):
        name, argument = match.groups()
        line = f'{name} takes no {argument!r}'
        return f'{line}: expected {_arguments(name)}' if name in _types() else line
    if isinstance(error, TypeError) and (match := _MISSING_ARGUMENT.search(text)):
        name, arguments = match.groups()
        return f'{name}: expected {arguments}, which it requires; add it'
    return None


def _arguments(name: str) -> str:
    parameters = inspect.signature(_types()[name]).parameters.values()
    named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return ', '.join(named) or 'nothing'


def _types() -> dict[str, type]:
    """Return registered types by name, from all libraries' registries."""
    return {
        name: registered
        for root in _roots()
        for registry in _family(root)
        for name, registered in registry.module_dict.items()
    }


def _roots() -> Iterator[_root.Registry]:
    yield from (r for r in vars(_root).values() if isinstance(r, _root.Registry))


def _full_names(kind: str) -> Iterator[str]:
    """Yield the names of a kind's registered types, with the scope that finds them everywhere."""
    for root in _roots():
        for registry in _family(root) if root.name == kind else ():
            scope = '' if registry is root else f'{registry.scope}.'
            yield from (f'{scope}{name}' for name in registry.module_dict)


def _family(registry: _root.Registry) -> Iterator[_root.Registry]:
    yield registry
    for child in registry.children.values():
        yield from _family(child)
