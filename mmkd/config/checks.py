"""Check a config before training starts, so that mistakes do not cost hours."""

import difflib
import inspect
import logging
import math
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.registry import VISBACKENDS
from mmengine.runner import Runner

from mmkd.config.student import is_distillation
from mmkd.config.types import is_kind, type_name
from mmkd.errors import UserError, check_integer, is_integer
from mmkd.registry import HOOKS

_BACKEND_MODULES = dict(
    TensorboardVisBackend=('tensorboard', 'tensorboardX'),
    WandbVisBackend=('wandb',),
    MLflowVisBackend=('mlflow',),
    ClearMLVisBackend=('clearml',),
    NeptuneVisBackend=('neptune',),
    DVCLiveVisBackend=('dvclive',),
    AimVisBackend=('aim',),
)
# By MMEngine's name of the device. On others AmpOptimWrapper ends in an assertion.
_MIXED_PRECISION = dict(
    cpu='mmkd.CpuAmpOptimWrapper',
    cuda='AmpOptimWrapper',
    npu='AmpOptimWrapper',
    mlu='AmpOptimWrapper',
    musa='AmpOptimWrapper',
)
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
        left_out = key != 'model' and config.get(key) is None
        if not left_out and not isinstance(config[key], dict):
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


def check_dataloaders(config: Config, *loaders: str) -> None:
    """Check the batch sizes of dataloaders, and that their datasets exist.

    Raises:
        UserError: A ``batch_size`` is not an integer >= 1, a ``data_root`` does not exist, no
            pipeline packs images, or a loop that ends with its data has a sampler that never
            ends.
    """
    for key in loaders:
        loader = config.get(key) or {}
        _check_ends(config, key, loader)
        pipelines = _pipelines(loader.get('dataset'))
        if pipelines and not any(pipelines):
            raise UserError(
                f'{key}.dataset.pipeline=[]: expected transforms that load and pack an image; '
                'inherit a pipeline, or end yours with PackSegInputs or PackDetInputs'
            )
        size = loader.get('batch_size', 1)
        if not isinstance(size, int) or size < 1:
            raise UserError(f'{key}.batch_size={size!r}: expected an integer >= 1')
        for name, root in _data_roots(loader.get('dataset'), f'{key}.dataset'):
            check_path(name, root)
            if '://' not in root and not Path(root).is_dir():
                raise UserError(
                    f'{name}={root} does not exist: expected the dataset there; put or link it '
                    'there, or set another data_root'
                )


def check_path(key: str, path: object) -> None:
    """Check that a path is a text: a command line takes the name ``2024`` for a number.

    Raises:
        UserError: It is not.
    """
    if not isinstance(path, str):
        raise UserError(
            f'{key}={path!r}: expected a path (str); on a command line, write {key}="\'{path}\'"'
        )


def check_loops(config: Config) -> None:
    """Check that each loop has all of its parts, and the numbers that say how long one is.

    Raises:
        UserError: A part is missing, a length or an interval is not an integer, or below 1, or
            training ends before its first validation.
    """
    for parts in (
        ('train_dataloader', 'train_cfg', 'optim_wrapper'),
        ('val_dataloader', 'val_cfg', 'val_evaluator'),
        ('test_dataloader', 'test_cfg', 'test_evaluator'),
    ):
        missing = [key for key in parts if config.get(key) is None]
        if missing and len(missing) < len(parts):
            raise UserError(
                f'{missing[0]}=None: expected all of {", ".join(parts)}, or none; set it, or set '
                'the others to None'
            )
    loop = config.get('train_cfg') or {}
    for key in ('max_iters', 'max_epochs', 'val_interval'):
        if loop.get(key) is not None:
            check_integer(f'train_cfg.{key}', loop[key], least=1)
    if loop.get('val_begin') is not None:
        check_integer('train_cfg.val_begin', loop['val_begin'], least=0)
        length = loop.get('max_iters') or loop.get('max_epochs')
        if length is not None and loop['val_begin'] > length and config.get('val_cfg') is not None:
            raise UserError(
                f'train_cfg.val_begin={loop["val_begin"]}: expected at most {length}, where the '
                'training ends, or it never validates; lower it'
            )
    for name, least in (('checkpoint', None), ('logger', 1)):
        hook = (config.get('default_hooks') or {}).get(name) or {}
        check_integer(f'default_hooks.{name}.interval', hook.get('interval', 1), least)


def _check_ends(config: Config, key: str, loader: Mapping) -> None:
    loop = config.get(key.replace('dataloader', 'cfg')) or {}
    epochs = loop.get('by_epoch', 'EpochBased' in _type_name(loop) or 'max_epochs' in loop)
    ends = key == 'train_dataloader' and not epochs
    sampler = _type_name(loader.get('sampler') or loader.get('batch_sampler'))
    if not ends and sampler.endswith('InfiniteSampler'):
        loops = 'IterBasedTrainLoop with max_iters, or ' if key == 'train_dataloader' else ''
        raise UserError(
            f'{key}.sampler.type={sampler}: expected {loops}a sampler that ends, or the loop goes '
            f"through the data for ever; set {key}.sampler=dict(type='DefaultSampler')"
        )


def settle_worker_options(config: Config) -> None:
    """Drop what only data workers take from dataloaders with ``num_workers=0``."""
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(key) or {}
        if loader.get('num_workers') == 0:
            for option in ('persistent_workers', 'prefetch_factor', 'timeout'):
                loader.pop(option, None)


def check_optimizer(config: Config) -> None:
    """Check the numbers of ``optim_wrapper`` that would end a training, or spoil it, in its step.

    Raises:
        UserError: a learning rate is negative or not finite, ``accumulative_counts`` is not a
            number of batches, ``clip_grad`` is not a dict, or ``type`` is mixed precision for
            another kind of device.
    """
    wrapper = config.get('optim_wrapper') or {}
    kind, device = _type_name(wrapper), get_device()
    expected = _MIXED_PRECISION.get(device, 'OptimWrapper')
    if kind in ('AmpOptimWrapper', 'CpuAmpOptimWrapper') and kind != expected.split('.')[-1]:
        flag = '' if device in _MIXED_PRECISION else ' and leave out --amp'
        raise UserError(
            f'optim_wrapper.type={kind}: expected {expected!r} on {device!r}; set that{flag}'
        )
    clip = wrapper.get('clip_grad')
    if not isinstance(clip, Mapping | None):
        raise UserError(
            f'optim_wrapper.clip_grad={clip!r}: expected a dict, such as dict(max_norm=1.0)'
        )
    counts = wrapper.get('accumulative_counts', 1)
    if type(counts) is not int or counts < 1:
        raise UserError(
            f'optim_wrapper.accumulative_counts={counts!r}: expected an integer >= 1; '
            'set it to 1 to update after every batch'
        )
    for key, value in _numbers(wrapper, 'optim_wrapper'):
        name = key.rpartition('.')[2]
        if name in ('lr', 'weight_decay', 'lr_mult', 'decay_mult') and not 0 <= value < math.inf:
            raise UserError(f'{key}={value!r}: expected a finite number of at least 0; change it')


def check_class_weights(config: Config) -> None:
    """Check that lists of class weights have one number a class, in every head of a network.

    The losses of segmentors and classifiers weight the classes. ``loss_cls`` of a detector, or of
    queries, has a further weight for the background, unless it is sigmoid.

    Raises:
        UserError: A list has another length; the message names its key.
    """
    model = config.get('model') or {}
    key = 'model.student' if is_distillation(config) else 'model'
    _check_class_weights(model['student'] if is_distillation(config) else model, key)


def _check_class_weights(node: object, key: str) -> None:
    if isinstance(node, list | tuple):
        for i, part in enumerate(node):
            _check_class_weights(part, f'{key}.{i}')
    if not isinstance(node, Mapping):
        return
    for name, part in node.items():
        _check_class_weights(part, f'{key}.{name}')
    if type(node.get('num_classes')) is not int:
        return
    for name, losses in node.items():
        if not str(name).startswith('loss'):
            continue
        several = isinstance(losses, list | tuple)
        for i, loss in enumerate(losses if several else [losses]):
            path = f'{key}.{name}.{i}' if several else f'{key}.{name}'
            _check_weights_of_loss(loss, path, node, detects=name == 'loss_cls')


def _check_weights_of_loss(loss: object, key: str, head: Mapping, detects: bool) -> None:
    weights = loss.get('class_weight') if isinstance(loss, Mapping) else None
    if not isinstance(weights, list | tuple):
        return  # none, one number, or a file
    classes = head['num_classes']
    expected, what = head.get('out_channels') or classes, 'one a class'
    if detects and loss.get('use_sigmoid'):
        expected = classes
    elif detects:
        expected, what = classes + 1, f'one a class ({classes}) and one for the background'
    if len(weights) != expected:
        raise UserError(
            f'{key}.class_weight={list(weights)}: expected {expected} numbers, {what}; change it'
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
        modules = _BACKEND_MODULES.get(_type_name(backend), ())
        if modules and not any(map(find_spec, modules)):
            raise UserError(
                f'visualizer.vis_backends.{i}.type={_type_name(backend)}: expected {modules[0]} to '
                f'be installed; run pip install {modules[0]}, or take the backend out'
            )


def _pipelines(dataset: Mapping | None) -> list[list]:
    """Return the pipelines of a dataset and of those that it wraps, as far as they are stated."""
    if not isinstance(dataset, Mapping):
        return []
    own = [dataset['pipeline']] if dataset.get('pipeline') is not None else []
    parts = [dataset.get('dataset'), *(dataset.get('datasets') or [])]
    return own + [pipeline for part in parts for pipeline in _pipelines(part)]


def _type_name(part: Mapping | None) -> str:
    return type_name((part or {}).get('type'))


def _numbers(node: object, key: str) -> Iterator[tuple[str, float]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _numbers(value, f'{key}.{name}')
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield key, node


def check_training(config: Config) -> None:
    """Check loops, data, optimizer, class weights, checkpoints and visualizer of a training.

    Raises:
        UserError: One of them is missing or holds a value that would stop or spoil the training.
    """
    check_loops(config)
    check_dataloaders(config, 'train_dataloader', 'val_dataloader')
    check_optimizer(config)
    check_class_weights(config)
    check_accumulation(config)
    check_kept_checkpoints(config)
    check_best_metric(config)
    check_checkpoint_keys(config)
    check_visualizer(config)
    check_log_level(config)


def check_accumulation(config: Config) -> None:
    """Check that no checkpoint is written during an accumulation of gradients.

    Checkpoints do not hold accumulated gradients, so a run cannot resume exactly from such a one.

    Raises:
        UserError: The interval of checkpoints or of validations does not fit the accumulation.
    """
    hook = checkpoint_hook(config)
    counts = (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if hook and counts > 1 and hook.get('by_epoch', True):
        raise UserError(
            f'default_hooks.checkpoint.by_epoch=True: expected False with optim_wrapper.'
            f'accumulative_counts={counts}; an epoch can end during an accumulation'
        )
    intervals = {'default_hooks.checkpoint.interval': hook.get('interval', -1)}
    if hook.get('save_best'):  # a run can also resume from a new best checkpoint
        intervals['train_cfg.val_interval'] = (config.get('train_cfg') or {}).get('val_interval', 1)
    for key, interval in intervals.items():
        if interval > 0 and interval % counts:
            raise UserError(
                f'{key}={interval}: expected a multiple of '
                f'optim_wrapper.accumulative_counts={counts}'
            )


def check_kept_checkpoints(config: Config) -> None:
    """Check that a checkpoint to resume from exists at every moment.

    Raises:
        UserError: ``CheckpointHook`` keeps only one checkpoint.
    """
    if checkpoint_hook(config).get('max_keep_ckpts') == 1:
        raise UserError(
            'default_hooks.checkpoint.max_keep_ckpts=1: expected an integer >= 2, or -1 for all; '
            'MMEngine deletes the oldest checkpoint before it writes the next'
        )


def check_best_metric(config: Config) -> None:
    """Check that one metric chooses ``best.pth``.

    Raises:
        UserError: ``CheckpointHook`` keeps a best checkpoint for each of several metrics.
    """
    best = checkpoint_hook(config).get('save_best')
    if isinstance(best, list) and len(best) > 1 and has_best_checkpoint_hook(config):
        raise UserError(
            f'default_hooks.checkpoint.save_best={best}: expected one metric, which chooses '
            'best.pth'
        )


def check_metric_reported(config: Config, reported: Collection[str]) -> None:
    """Check that a validation reports the metric that chooses the best checkpoint.

    Args:
        config: The training's config.
        reported: Names of the metrics that a validation has reported; if empty, nothing is known.

    Raises:
        UserError: It does not.
    """
    best = checkpoint_hook(config).get('save_best')
    for metric in best if isinstance(best, list) else [best]:
        if reported and metric not in (None, 'auto', *reported):
            raise UserError(
                f'default_hooks.checkpoint.save_best={metric!r}: expected one of '
                f'{", ".join(reported)}, which the validation reports'
            )


def check_checkpoint_keys(config: Config) -> None:
    """Check the keys of ``CheckpointHook``, which passes on what it does not know itself.

    Raises:
        UserError: The hook takes one neither itself nor when it writes a checkpoint.
    """
    hook = checkpoint_hook(config)
    if _type_name(hook) != 'CheckpointHook':
        return
    known = [inspect.signature(f).parameters for f in (CheckpointHook, Runner.save_checkpoint)]
    allowed = {'type', 'priority', *known[0], *known[1]} - {'self', 'kwargs', 'filename', 'meta'}
    for key in hook.keys() - allowed:
        near = difflib.get_close_matches(key, allowed, n=1)
        raise UserError(
            f'default_hooks.checkpoint.{key}={hook[key]!r}: expected a key of CheckpointHook'
            + (f'; did you mean {near[0]}?' if near else '; remove it')
        )


def check_log_level(config: Config) -> None:
    """Check ``log_level``, which MMEngine reads when a missing teacher has already trained.

    Raises:
        UserError: It is not one of Python's levels.
    """
    level, names = config.get('log_level', 'INFO'), list(logging.getLevelNamesMapping())
    if not is_integer(level) and level not in names:
        raise UserError(f'log_level={level!r}: expected one of {", ".join(names)}; correct it')


def checkpoint_hook(config: Config) -> dict:
    """Return the config of the hook that writes checkpoints, empty if there is none."""
    return (config.get('default_hooks') or {}).get('checkpoint') or {}


def metric_rule(metric: str, rule: str | None = None) -> str:
    """Return which values of a metric are better, as MMEngine's ``CheckpointHook`` decides it.

    Args:
        metric: Its name.
        rule: The hook's ``rule`` for it, which decides if it is given.

    Returns:
        ``greater`` or ``less``; or ``rule``, as it is given.
    """
    if rule is None:
        try:
            rule = CheckpointHook(save_best=str(metric)).rules[0]
        except ValueError:  # a metric that MMEngine does not know
            rule = 'greater'
    return rule


def has_best_checkpoint_hook(config: Config) -> bool:
    """Return whether ``mmkd.BestCheckpointHook`` is a hook.

    That hook keeps ``best.pth`` and brings the one that marks the end of training.
    """
    default = config.get('default_hooks') or {}
    hooks = [*default.values(), *(config.get('custom_hooks') or [])]
    return any(hook and is_kind(hook['type'], 'BestCheckpointHook', HOOKS) for hook in hooks)


def _data_roots(dataset: dict | None, key: str) -> list[tuple[str, str]]:
    """Return the ``data_root`` of a dataset, and of those that it wraps, by config key."""
    if not dataset:
        return []
    own = [(f'{key}.data_root', dataset['data_root'])] if dataset.get('data_root') else []
    wrapped = [(f'{key}.dataset', dataset.get('dataset'))]
    wrapped += [(f'{key}.datasets.{i}', d) for i, d in enumerate(dataset.get('datasets', []))]
    return own + [found for name, inner in wrapped for found in _data_roots(inner, name)]
