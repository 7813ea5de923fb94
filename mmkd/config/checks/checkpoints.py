"""Check which checkpoints a training writes and keeps, and what chooses the best one."""

import difflib
import inspect
from collections.abc import Collection

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmkd.config.checks.loops import trains_by_epoch
from mmkd.config.types import is_kind, type_name
from mmkd.errors import UserError
from mmkd.registry import HOOKS


def check_checkpoint_unit(config: Config) -> None:
    """Check that checkpoints are written in the unit in which the training loop resumes.

    MMEngine resumes an epoch loop at the start of an epoch. A checkpoint that counts iterations
    holds the number of the epoch in which it was written, which would be trained again. A loop of
    iterations is one epoch, so a hook that counts epochs would write nothing before its end.

    Raises:
        UserError: They are not.
    """
    hook, by_epoch = checkpoint_hook(config), trains_by_epoch(config)
    if hook.get('interval', -1) < 1 or hook.get('by_epoch', True) == by_epoch:
        return
    why, unit = 'a loop of iterations, which writes none before its end', 'iterations'
    if by_epoch:
        why, unit = 'an epoch loop, which resumes at the start of an epoch', 'epochs'
    raise UserError(
        f'default_hooks.checkpoint.by_epoch={not by_epoch}: expected {by_epoch} with {why}; set '
        f'it, and interval in {unit}'
    )


def check_accumulation(config: Config) -> None:
    """Check that no checkpoint is written during an accumulation of gradients.

    Checkpoints do not hold accumulated gradients, so a run cannot resume exactly from such a one.

    Raises:
        UserError: The interval of checkpoints or of validations does not fit the accumulation, or
            the loop counts epochs.
    """
    hook = checkpoint_hook(config)
    counts = (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if hook and counts > 1 and trains_by_epoch(config):
        raise UserError(
            f'optim_wrapper.accumulative_counts={counts}: expected 1 with an epoch loop, whose '
            'epochs can end during an accumulation; set it, or train by IterBasedTrainLoop'
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
    if type_name(hook.get('type')) != 'CheckpointHook':
        return
    known = [inspect.signature(f).parameters for f in (CheckpointHook, Runner.save_checkpoint)]
    allowed = {'type', 'priority', *known[0], *known[1]} - {'self', 'kwargs', 'filename', 'meta'}
    for key in hook.keys() - allowed:
        near = difflib.get_close_matches(key, allowed, n=1)
        raise UserError(
            f'default_hooks.checkpoint.{key}={hook[key]!r}: expected a key of CheckpointHook'
            + (f'; did you mean {near[0]}?' if near else '; remove it')
        )


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
