"""mmkd's registries: children of MMEngine's, so every type of every OpenMMLab library resolves."""

from mmengine import registry as _root

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
