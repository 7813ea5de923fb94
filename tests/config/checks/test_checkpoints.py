from contextlib import nullcontext

import pytest
from mmengine.config import Config

from mmkd.config.checks.checkpoints import (
    check_accumulation,
    check_best_metric,
    check_checkpoint_keys,
    check_checkpoint_unit,
    check_kept_checkpoints,
    check_metric_reported,
)
from mmkd.errors import UserError


def test_check_checkpoint_keys_unknown_is_rejected(recipe):
    check_checkpoint_keys(recipe)
    recipe.default_hooks.checkpoint.intervall = 3
    message = 'checkpoint.intervall=3: expected a key of CheckpointHook; did you mean interval?'
    with pytest.raises(UserError, match=message):
        check_checkpoint_keys(recipe)


@pytest.mark.parametrize(
    'best, reported, accepted',
    [
        ('mIoU', {'mIoU', 'aAcc'}, True),
        (['val/mIoU'], {'val/mIoU'}, True),
        ('auto', {'mIoU'}, True),
        (None, {'mIoU'}, True),
        ('mIOU', {}, True),  # nothing is known
        ('mIOU', {'mIoU'}, False),
        ('mIoU', {'val/mIoU'}, False),
    ],
)
def test_check_metric_reported_names_what_is(best, reported, accepted):
    config = Config(dict(default_hooks=dict(checkpoint=dict(save_best=best))))
    if accepted:
        check_metric_reported(config, reported)
    else:
        with pytest.raises(UserError, match=f'save_best={best!r}: expected one of '):
            check_metric_reported(config, reported)


def with_checkpoint_hook(counts=1, val_interval=4, **hook) -> Config:
    checkpoint = dict(type='CheckpointHook', **hook)
    hooks = dict(checkpoint=checkpoint, best=dict(type='mmkd.BestCheckpointHook'))
    return Config(
        dict(
            default_hooks=hooks,
            optim_wrapper=dict(accumulative_counts=counts),
            train_cfg=dict(val_interval=val_interval),
        )
    )


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(interval=3), 'checkpoint.interval=3: expected a multiple of'),
        (dict(val_interval=5, save_best='mIoU'), 'train_cfg.val_interval=5: expected a multiple'),
        (dict(val_interval=5), None),
        (dict(interval=4), None),
    ],
)
def test_check_accumulation_checkpoint_amid_accumulation_is_rejected(changes, message):
    config = with_checkpoint_hook(**dict(counts=2, by_epoch=False, interval=2) | changes)
    with pytest.raises(UserError, match=message) if message else nullcontext():
        assert check_accumulation(config) is None


def test_check_accumulation_in_an_epoch_loop_is_rejected():
    config = with_checkpoint_hook(counts=2, by_epoch=True, interval=1)
    config.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3)
    with pytest.raises(UserError, match='accumulative_counts=2: expected 1 with an epoch loop'):
        check_accumulation(config)


@pytest.mark.parametrize(
    'loop', [dict(type='EpochBasedTrainLoop', max_epochs=3), dict(by_epoch=True, max_epochs=3)]
)
@pytest.mark.parametrize(
    'hook, accepted',
    [
        (dict(interval=2, by_epoch=False), False),
        (dict(interval=2, by_epoch=True), True),
        (dict(interval=2), True),
        (dict(interval=-1, by_epoch=False), True),  # it writes the best ones only
    ],
)
def test_check_checkpoint_unit_of_an_epoch_loop_is_epochs(loop, hook, accepted):
    config = with_checkpoint_hook(**hook)
    config.train_cfg = loop
    message = 'checkpoint.by_epoch=False: expected True with an epoch loop, .* interval in epochs'
    with nullcontext() if accepted else pytest.raises(UserError, match=message):
        assert check_checkpoint_unit(config) is None


@pytest.mark.parametrize(
    'loop', [dict(type='IterBasedTrainLoop', max_iters=3), dict(by_epoch=False, max_iters=3)]
)
@pytest.mark.parametrize('hook', [dict(interval=2), dict(interval=2, by_epoch=True)])
def test_check_checkpoint_unit_of_a_loop_of_iterations_is_iterations(loop, hook):
    config = with_checkpoint_hook(**hook)
    config.train_cfg = loop
    message = 'by_epoch=True: expected False with a loop of iterations, .* interval in iterations'
    with pytest.raises(UserError, match=message):
        check_checkpoint_unit(config)
    config.default_hooks.checkpoint.by_epoch = False
    assert check_checkpoint_unit(config) is None


@pytest.mark.parametrize('kept, accepted', [(1, False), (2, True), (-1, True)])
def test_check_kept_checkpoints_one_is_rejected(kept, accepted):
    message = 'max_keep_ckpts=1: expected an integer >= 2'
    with nullcontext() if accepted else pytest.raises(UserError, match=message):
        assert check_kept_checkpoints(with_checkpoint_hook(max_keep_ckpts=kept)) is None


@pytest.mark.parametrize('metric, accepted', [(['mIoU', 'aAcc'], False), (['mIoU'], True)])
def test_check_best_metric_several_are_rejected(metric, accepted):
    with nullcontext() if accepted else pytest.raises(UserError, match='expected one metric'):
        assert check_best_metric(with_checkpoint_hook(save_best=metric)) is None
