"""Reading configs: where they are found, and the student's own config inside a distillation's."""

import copy
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb

from mmengine.config import Config, ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import import_modules_from_strings

from mmkd.errors import UserError

# MMEngine looks MMSegmentation's configs up by the name of its original package, which the
# maintained one has not; the import name finds both.
MODULE2PACKAGE['mmseg'] = 'mmseg'

ROOT = (Path(__file__).resolve().parent / '.mim' / 'configs').resolve().parent
"""The folder of ``configs/`` and ``tools/``: the repository's, or ``mmkd/.mim`` of a wheel."""

_NO_BASE = re.compile(r"because (\w+) is a dict in the child config but is of type <class '(\w+)'>")

# The parts of a config that evaluate a model; everything else concerns its training.
_EVALUATION_KEYS = (
    'default_scope',
    'test_pipeline',
    'val_dataloader',
    'val_evaluator',
    'val_cfg',
    'test_dataloader',
    'test_evaluator',
    'test_cfg',
)


def load_config(name: str) -> Config:
    """Load a config by path, or from an installed library as ``mmseg::folder/file.py``.

    A relative path is looked up from the working directory, then from mmkd's own folder.

    Raises:
        UserError: no such config, one that cannot be read, or one without a model.
    """
    config = _read(_installed_config(name) if '::' in name else _own_config(name))
    if not isinstance(config.get('model'), dict):
        raise UserError(f'config {name} has no model')
    return config


def load_distillation(name: str) -> Config:
    """:func:`load_config`, of a config that distils.

    Raises:
        UserError: no such config, or one that does not.
    """
    config = load_config(name)
    if not is_distillation(config):
        raise UserError(f'config {name} does not distil: model.type={config.model.get("type")}')
    return config


def config_name(name: str) -> str:
    """The name of a config by itself, without folders, library and suffix."""
    return Path(name.rpartition('::')[2]).stem


def _read(path: Path) -> Config:
    try:
        config = Config.fromfile(path, import_custom_modules=False)
    except Exception as error:  # a config is a program, which may raise anything
        raise UserError(f'config {path}, or one that it inherits{_reason(error)}') from None
    if config.get('custom_imports'):
        _import_modules(path, config.custom_imports)
    return config


def _reason(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f', line {error.lineno}: {error.msg}'
    text = ' '.join(str(error).split())
    if isinstance(error, UserError):
        return f': {text}'
    if match := _NO_BASE.search(text):
        key, kind = match.groups()
        return (
            f': {key} is a dict, and of type {kind} in the base; '
            f'{key}=dict(_delete_=True, ...) takes its place'
        )
    steps = [step for step in extract_tb(error.__traceback__) if step.name == '<module>']
    where = f' ({steps[-1].filename}, line {steps[-1].lineno})' if steps else ''
    return f': {type(error).__name__}: {text}{where}'


def _import_modules(path: Path, imports: Mapping) -> None:
    allowed = {'imports', 'allow_failed_imports'}
    key = f'config {path}, or one that it inherits: custom_imports'
    if not isinstance(imports, Mapping) or not {'imports'} <= imports.keys() <= allowed:
        raise UserError(f'{key}={imports!r}; allowed: dict(imports=[...])')
    try:
        import_modules_from_strings(**imports)
    except ImportError as error:
        raise UserError(
            f'{key}: {error.__context__}; PYTHONPATH must hold the folder of a module of your own'
        ) from None


def _own_config(name: str) -> Path:
    for path in (Path(name), ROOT / name):
        if path.is_file():
            return path
    raise UserError(f'config {name} does not exist')


def _installed_config(name: str) -> Path:
    library, _, inside = name.partition('::')
    spec = find_spec(library) if library.isidentifier() else None
    if spec is None or spec.origin is None:
        raise UserError(f'config {name}: {library or "no library"} is not installed')
    path = Path(spec.origin).parent / '.mim' / 'configs' / inside
    if not path.is_file():
        raise UserError(f'config {name}: {library} has no such config')
    return path


def _find_base(base: str, config: str, find: Callable = Config._get_cfg_path) -> tuple:
    if base.startswith('mmkd::'):
        return str(_installed_config(base)), None
    return find(base, config)


# In a config's ``_base_``, MMEngine takes only ``library::folder/file.py`` and has the base's types
# looked up in that library alone; mmkd's recipes lie at the top and hold MMSegmentation's and
# MMDetection's types. No public name of MMEngine changes either.
Config._get_cfg_path = staticmethod(_find_base)


def load_work_dir_config(work_dir: str | Path) -> Config:
    """The config of the run in a work dir: the one that MMEngine copied, or ``student.py``.

    Raises:
        UserError: there is none, more than one, or one that cannot be read.
    """
    folder = Path(work_dir)
    # A config without a file, such as a student's that was evaluated, is copied under the time.
    other = re.compile(r'student|\d{8}_\d{6}')
    copies = sorted(path for path in folder.glob('*.py') if not other.fullmatch(path.stem))
    if not copies and (folder / 'student.py').is_file():
        copies = [folder / 'student.py']
    if len(copies) != 1:
        found = ', '.join(path.name for path in copies) or 'none'
        raise UserError(f'{folder} holds {found} as configs; allowed: the work dir of one run')
    return _read(copies[0])


def check_dataloaders(config: Config, *loaders: str) -> None:
    """Check some dataloaders: their batches, and that their data sets are where the config says.

    Raises:
        UserError: a ``batch_size`` is no number of images, or a ``data_root`` does not exist.
    """
    for key in loaders:
        loader = config.get(key) or {}
        size = loader.get('batch_size', 1)
        if not isinstance(size, int) or size < 1:
            raise UserError(f'{key}.batch_size={size!r}; allowed: a whole number above 0')
        for name, root in _data_roots(loader.get('dataset'), f'{key}.dataset'):
            if '://' not in root and not Path(root).is_dir():
                raise UserError(
                    f'{name}={root} does not exist; put or link the data set there, '
                    'or set another data_root'
                )


def check_checkpoint_hook(config: Config) -> None:
    """Check that there is always a checkpoint from which training resumes exactly.

    Gradients that are still being accumulated are in no checkpoint: one written amid them could
    not be resumed from exactly. MMEngine deletes the oldest checkpoint before it writes the next,
    so that one alone would for that moment be none.

    Raises:
        UserError: the interval is no multiple of ``accumulative_counts``, or one is kept; or there
            are several best checkpoints, of which none can be ``best.pth``.
    """
    counts = (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    hook = (config.get('default_hooks') or {}).get('checkpoint') or {}
    if hook and counts > 1 and hook.get('by_epoch', True):
        raise UserError(
            f'default_hooks.checkpoint.by_epoch=True; allowed with optim_wrapper.'
            f'accumulative_counts={counts}: False, because an epoch may end amid an accumulation'
        )
    intervals = {'default_hooks.checkpoint.interval': hook.get('interval', -1)}
    if hook.get('save_best'):  # a new best is a checkpoint to resume from as well
        intervals['train_cfg.val_interval'] = (config.get('train_cfg') or {}).get('val_interval', 1)
    for key, interval in intervals.items():
        if interval > 0 and interval % counts:
            raise UserError(
                f'{key}={interval}; allowed: a multiple of '
                f'optim_wrapper.accumulative_counts={counts}'
            )
    best = hook.get('save_best')
    if isinstance(best, list) and len(best) > 1 and keeps_its_best(config):
        raise UserError(
            f'default_hooks.checkpoint.save_best={best}; allowed: one metric, '
            'that best.pth is chosen by'
        )
    if hook.get('max_keep_ckpts') == 1:
        raise UserError(
            'default_hooks.checkpoint.max_keep_ckpts=1; allowed: 2 and above, or -1 for all: '
            'MMEngine deletes the oldest checkpoint before it writes the next'
        )


def keeps_its_best(config: Config) -> bool:
    """Whether ``mmkd.BestCheckpointHook`` is among the hooks; it also marks the end of training."""
    default = config.get('default_hooks') or {}
    hooks = [*default.values(), *(config.get('custom_hooks') or [])]
    return any(hook and str(hook['type']).endswith('BestCheckpointHook') for hook in hooks)


def is_distillation(config: Config) -> bool:
    """Whether the config's model is a ``Distiller``."""
    return str(config.get('model', {}).get('type')).rsplit('.', 1)[-1] == 'Distiller'


def model_config(config: Config) -> ConfigDict:
    """The network that a config is about: its model, or the student if it distils.

    MMEngine lets a config state ``data_preprocessor`` beside the model; it is moved inside.
    """
    model = config.model.student if is_distillation(config) else config.model
    model = copy.deepcopy(model)
    if config.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(config.data_preprocessor))
    return model


def student_config(config: Config) -> Config:
    """A config of the student alone, with what evaluates it and nothing that trains it.

    It needs no mmkd to build the model unless the student's own layers come from mmkd; imports
    of the user's own stay.
    """
    alone = {key: config[key] for key in _EVALUATION_KEYS if key in config}
    alone['model'] = model_config(config)
    imports = config.get('custom_imports', {}).get('imports', [])
    imports = [name for name in imports if name != 'mmkd']
    if any(scope.startswith('mmkd.') for scope in _types(alone['model'])):
        imports.append('mmkd')
    if imports:
        alone['custom_imports'] = dict(imports=imports, allow_failed_imports=False)
    return Config(copy.deepcopy(alone))


def _data_roots(dataset: dict | None, key: str) -> list[tuple[str, str]]:
    """The ``data_root`` of a data set, and of those that it wraps, by config key."""
    if not dataset:
        return []
    own = [(f'{key}.data_root', dataset['data_root'])] if dataset.get('data_root') else []
    wrapped = [(f'{key}.dataset', dataset.get('dataset'))]
    wrapped += [(f'{key}.datasets.{i}', d) for i, d in enumerate(dataset.get('datasets', []))]
    return own + [found for name, inner in wrapped for found in _data_roots(inner, name)]


def _types(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node['type']] if isinstance(node.get('type'), str) else []
        return own + [t for value in node.values() for t in _types(value)]
    if isinstance(node, list | tuple):
        return [t for value in node for t in _types(value)]
    return []
