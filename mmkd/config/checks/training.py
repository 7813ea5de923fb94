"""Check all of a training before it starts, so that mistakes do not cost hours."""

from mmengine.config import Config

from mmkd.config.checks.checkpoints import (
    check_accumulation,
    check_best_metric,
    check_checkpoint_keys,
    check_checkpoint_unit,
    check_kept_checkpoints,
)
from mmkd.config.checks.class_weights import check_class_weights
from mmkd.config.checks.data import check_dataloaders
from mmkd.config.checks.loops import check_loops
from mmkd.config.checks.optimizer import check_optimizer
from mmkd.config.checks.reporting import check_log_level, check_visualizer
from mmkd.errors import UserError


def check_training(config: Config) -> None:
    """Check loops, data, optimizer, class weights, checkpoints and visualizer of a training.

    Raises:
        UserError: One of them is missing or holds a value that would stop or spoil the training.
    """
    check_loops(config)
    if not config.get('train_dataloader'):
        raise UserError(
            'train_dataloader=None: expected a config that trains; the student.py of a work dir '
            'does not'
        )
    check_dataloaders(config, 'train_dataloader', 'val_dataloader')
    check_optimizer(config)
    check_class_weights(config)
    check_checkpoint_unit(config)
    check_accumulation(config)
    check_kept_checkpoints(config)
    check_best_metric(config)
    check_checkpoint_keys(config)
    check_visualizer(config)
    check_log_level(config)
