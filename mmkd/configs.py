"""Reading configs: where they are found, and the student's own config inside a distillation's."""

import copy
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config

from mmkd.errors import UserError

_ROOT = Path(__file__).resolve().parent.parent
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
        UserError: no such config.
    """
    if '::' in name:
        try:
            return get_config(name)
        except (FileNotFoundError, ImportError, ValueError, AssertionError) as error:
            raise UserError(f'config {name}: {" ".join(str(error).split())[:160]}') from error
    for path in (Path(name), _ROOT / name):
        if path.is_file():
            return Config.fromfile(path)
    raise UserError(f'config {name} does not exist')


def check_data_roots(config: Config) -> None:
    """Check that the data sets of a config are where it says.

    Raises:
        UserError: a ``data_root`` does not exist.
    """
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        root = config.get(key, {}).get('dataset', {}).get('data_root')
        if root and '://' not in root and not Path(root).is_dir():
            raise UserError(
                f'{key}.dataset.data_root={root} does not exist; put or link the data set there, '
                'or set another data_root'
            )


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

    It needs no mmkd to build the model unless the student's own layers come from mmkd.
    """
    alone = {key: config[key] for key in _EVALUATION_KEYS if key in config}
    alone['model'] = model_config(config)
    if any(scope.startswith('mmkd.') for scope in _types(alone['model'])):
        alone['custom_imports'] = dict(imports=['mmkd'], allow_failed_imports=False)
    return Config(copy.deepcopy(alone))


def _types(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node['type']] if isinstance(node.get('type'), str) else []
        return own + [t for value in node.values() for t in _types(value)]
    if isinstance(node, list | tuple):
        return [t for value in node for t in _types(value)]
    return []
