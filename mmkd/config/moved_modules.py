"""Import modules by the path that they had a release ago, as a user's ``custom_imports`` may."""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pkgutil import resolve_name
from types import ModuleType

from mmkd.errors import warn_renamed

_MOVED = {
    'mmkd.ablation': 'mmkd.experiments',
    'mmkd.ablation.queue': 'mmkd.experiments.queue',
    'mmkd.ablation.report': 'mmkd.experiments.summary',
    'mmkd.ablation.runs': 'mmkd.experiments.run',
    'mmkd.checkpoint': 'mmkd.checkpoints.safe_load',
    'mmkd.configs': 'mmkd.config',
    'mmkd.deploy.deployed': 'mmkd.deploy.export_model',
    'mmkd.deploy.files': 'mmkd.deploy.export_files',
    'mmkd.distiller': 'mmkd.distillation.distiller',
    'mmkd.report': 'mmkd.experiments.report',
    'mmkd.report.chart': 'mmkd.experiments.report.chart',
    'mmkd.report.page': 'mmkd.experiments.report.page',
    'mmkd.run_record': 'mmkd.experiments.record',
    'mmkd.taps': 'mmkd.distillation.tap',
    'mmkd.teacher': 'mmkd.distillation.teacher',
    'mmkd.term': 'mmkd.distillation.term',
}
# What lies elsewhere than the rest of its old module, or has another name.
_RENAMED = {
    'mmkd.ablation.runs': {
        'plan_runs': 'mmkd.experiments.plan:plan_runs',
        'read_run': 'mmkd.experiments.run:load_run',
        'runs_in': 'mmkd.experiments.plan:runs_in',
    },
    'mmkd.checkpoint': {'load_weights': 'mmkd.checkpoints.load_weights:load_weights'},
    'mmkd.configs': {
        'check_dataloaders': 'mmkd.config.checks.data:check_dataloaders',
        'config_name': 'mmkd.config.load:config_name',
        'keeps_its_best': 'mmkd.config.checks.checkpoints:has_best_checkpoint_hook',
    },
    'mmkd.deploy.deployed': {'deployed': 'mmkd.deploy.export_model:make_export_model'},
    'mmkd.deploy.files': {'read_exported': 'mmkd.deploy.export_files:load_exported'},
    'mmkd.run_record': {'read_record': 'mmkd.experiments.record:load_record'},
    'mmkd.taps': {
        'Recording': 'mmkd.distillation.recording:Recording',
        'record': 'mmkd.distillation.recording:record',
    },
}


class _MovedModules(MetaPathFinder, Loader):
    """Find a module by its old path, with a warning; the old path goes with the next release."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None  # an empty one, which the module at the new path replaces

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        warn_renamed(name, _MOVED[name])
        moved = importlib.import_module(_MOVED[name])
        if name in _RENAMED:
            vars(module).update(vars(moved) | dict(__name__=name))
            for old, new in _RENAMED[name].items():
                setattr(module, old, resolve_name(new))
        else:
            sys.modules[name] = moved


def find_moved_modules() -> None:
    """Let ``import`` find the modules of mmkd by their old paths."""
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        # First: the new folder of a moved package would find its modules a second time.
        sys.meta_path.insert(0, _MovedModules())
