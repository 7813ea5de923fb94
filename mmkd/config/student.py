"""Find the networks in a config, and write the student's config without its distillation."""

import copy

from mmengine.config import Config, ConfigDict

from mmkd.config.types import is_kind, type_library
from mmkd.registry import MODELS

# The keys of a config that evaluate a model. Other keys concern its training.
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


def is_distillation(config: Config) -> bool:
    """Return whether the config's model is a ``Distiller`` or a subclass of it."""
    return is_kind((config.get('model') or {}).get('type'), 'Distiller', MODELS)


def model_config(config: Config) -> ConfigDict:
    """Return the network of a config: its model, or the student if it distils.

    MMEngine lets a config set ``data_preprocessor`` beside the model; it is moved inside.
    """
    model = config.model.student if is_distillation(config) else config.model
    return _with_preprocessor(model, config)


def whole_model(config: Config) -> ConfigDict:
    """Return the model of a config, the Distiller if it distils, as MMEngine's Runner builds it."""
    return _with_preprocessor(config.model, config)


def _with_preprocessor(model: ConfigDict, config: Config) -> ConfigDict:
    model = copy.deepcopy(model)
    if config.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(config.data_preprocessor))
    return model


def innermost_dataset(dataset: ConfigDict) -> ConfigDict:
    """Return the config of the dataset, the first one, that wrappers such as RepeatDataset hold."""
    while dataset.get('dataset') or dataset.get('datasets'):
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    return dataset


def student_config(config: Config) -> Config:
    """Return the student's config: what evaluates it, without what trains it.

    Building the model needs mmkd only if the student has layers from mmkd. Imports of your modules
    stay.
    """
    alone = {key: config[key] for key in _EVALUATION_KEYS if key in config}
    alone['model'] = model_config(config)
    imports = imported_modules(config)
    if any(type_library(kind) == 'mmkd' for kind in _types(alone['model'])):
        imports.append('mmkd')
    if imports:
        alone['custom_imports'] = dict(imports=imports, allow_failed_imports=False)
    return Config(copy.deepcopy(alone))


def imported_modules(config: Config) -> list[str]:
    """Return the modules that a config's ``custom_imports`` name, without mmkd."""
    imports = (config.get('custom_imports') or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else imports
    return [name for name in imports if name != 'mmkd']


def _types(node: object) -> list[str | type]:
    if isinstance(node, dict):
        own = [node['type']] if isinstance(node.get('type'), str | type) else []
        return own + [t for value in node.values() for t in _types(value)]
    if isinstance(node, list | tuple):
        return [t for value in node for t in _types(value)]
    return []
