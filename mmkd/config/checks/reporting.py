"""Check what a training reports to: its visualizer and its log."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec

from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from mmkd.config.types import type_name
from mmkd.errors import UserError, is_integer

_BACKEND_MODULES = dict(
    TensorboardVisBackend=('tensorboard', 'tensorboardX'),
    WandbVisBackend=('wandb',),
    MLflowVisBackend=('mlflow',),
    ClearMLVisBackend=('clearml',),
    NeptuneVisBackend=('neptune',),
    DVCLiveVisBackend=('dvclive',),
    AimVisBackend=('aim',),
)


def check_visualizer(config: Config) -> None:
    """Check what a training reports to, which MMEngine builds after a missing teacher.

    Raises:
        UserError: A backend is not one that MMEngine has, or its package is not installed.
    """
    backends = (config.get('visualizer') or {}).get('vis_backends') or []
    if not isinstance(backends, list) or not all(isinstance(b, Mapping) for b in backends):
        raise UserError(f'visualizer.vis_backends={backends!r}: expected a list of dicts')
    for i, backend in enumerate(backends):
        kind = backend.get('type')
        with VISBACKENDS.switch_scope_and_registry(config.get('default_scope')) as registry:
            is_known = not isinstance(kind, str) or registry.get(kind) is not None
        if not is_known:
            raise UserError(
                f'visualizer.vis_backends.{i}.type={kind}: expected one of '
                f'{", ".join(sorted(VISBACKENDS.module_dict))}'
            )
        modules = _BACKEND_MODULES.get(type_name(kind), ())
        if modules and not any(map(find_spec, modules)):
            raise UserError(
                f'visualizer.vis_backends.{i}.type={type_name(kind)}: expected {modules[0]} to '
                f'be installed; run pip install {modules[0]}, or take the backend out'
            )


def check_log_level(config: Config) -> None:
    """Check ``log_level``, which MMEngine reads when a missing teacher has already trained.

    Raises:
        UserError: It is not one of Python's levels.
    """
    level, names = config.get('log_level', 'INFO'), list(logging.getLevelNamesMapping())
    if not is_integer(level) and level not in names:
        raise UserError(f'log_level={level!r}: expected one of {", ".join(names)}; correct it')
