"""Check that the sections of a config have the right types, and that its library is there."""

import difflib
import inspect
from collections.abc import Iterator
from importlib.util import find_spec

from mmengine.config import Config
from mmengine.runner import Runner

from mmkd.config.student import is_distillation
from mmkd.errors import UserError

_SECTIONS = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'optim_wrapper',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'default_hooks',
    'env_cfg',
    'randomness',
    'visualizer',
)
# MMEngine has defaults for the last two where they are missing, but not where they are None.
_NEVER_NONE = ('model', 'env_cfg', 'randomness')


def check_library(config: Config) -> None:
    """Check that MMPretrain, which is an extra, is installed for a config of its networks.

    Raises:
        UserError: It is not.
    """
    if config.get('default_scope') == 'mmpretrain' and find_spec('mmpretrain') is None:
        raise UserError(
            "default_scope='mmpretrain': expected MMPretrain to be installed; run "
            "pip install 'mmkd[classification]'"
        )


def check_sections(config: Config) -> None:
    """Check that the sections of a config are dicts, and the keys and the seed of ``randomness``.

    Raises:
        UserError: One is not, or a hook does not have a type; the message names the key.
    """
    for key in _SECTIONS:
        if key != 'model' and key not in config:
            continue
        if not isinstance(config[key], dict if key in _NEVER_NONE else dict | None):
            raise UserError(f'{key}={config[key]!r}: expected a dict')
    default = config.get('default_hooks') or {}
    for key, hook in default.items():
        if not isinstance(hook, dict | None):
            raise UserError(f'default_hooks.{key}={hook!r}: expected a dict')
        if hook is not None and not hook.get('type'):
            near = difflib.get_close_matches(key, default.keys() - {key}, n=1)
            hint = f'did you mean default_hooks.{near[0]}?' if near else 'add it'
            raise UserError(f'default_hooks.{key}={hook!r}: expected a type; {hint}')
    hooks = config.get('custom_hooks') or []
    if not isinstance(hooks, list) or not all(isinstance(hook, dict) for hook in hooks):
        raise UserError(f'custom_hooks={hooks!r}: expected a list of dicts')
    for i, hook in enumerate(hooks):
        if not hook.get('type'):
            raise UserError(f'custom_hooks.{i}={hook!r}: expected a type; add it')
    if is_distillation(config) and not isinstance(config.model.get('student'), dict):
        raise UserError(f'model.student={config.model.get("student")!r}: expected a dict')
    for key, part in _inner_sections(config):
        if not isinstance(part, dict | None):
            raise UserError(f'{key}={part!r}: expected a dict')
    scope = config.get('default_scope')
    if not isinstance(scope, str | None):
        raise UserError(f'default_scope={scope!r}: expected the name of a library, such as mmseg')
    # MMEngine reads it last, after a missing teacher has already trained.
    allowed = list(inspect.signature(Runner.set_randomness).parameters)[1:]
    for key in config.get('randomness') or {}:
        if key not in allowed:
            raise UserError(f'randomness takes no {key!r}: expected {", ".join(allowed)}')
    seed = (config.get('randomness') or {}).get('seed')
    if seed is not None and not (type(seed) is int and 0 <= seed < 2**32):
        raise UserError(f'randomness.seed={seed!r}: expected an integer from 0 to {2**32 - 1}')


def _inner_sections(config: Config) -> Iterator[tuple[str, object]]:
    """Yield the parts of sections that are dicts too, by key."""
    for section in ('env_cfg', 'train_dataloader', 'val_dataloader', 'test_dataloader'):
        for key in ('mp_cfg', 'dist_cfg', 'dataset', 'sampler', 'batch_sampler'):
            yield f'{section}.{key}', (config.get(section) or {}).get(key)
