"""Start a training: processes, resuming, progress."""

import os
import sys

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed

from mmkd.checkpoints.atomic_files import find_last_checkpoint
from mmkd.errors import UserError


def set_launcher(config: Config, launcher: str) -> None:
    """Set the launcher and join the other processes.

    Without a GPU, ``pytorch`` runs over gloo on the CPU. MMEngine's start-up would require a CUDA
    device for each process.

    Raises:
        UserError: The launcher is set, but it did not start this process.
    """
    config.launcher = launcher
    if launcher == 'none':
        return
    if torch.cuda.is_available():
        if not is_distributed():
            # gloo beside NCCL: a Distiller is built on the CPU. Its dry run computes the losses of
            # detectors, and some of them already communicate with the other processes.
            options = dict((config.get('env_cfg') or {}).get('dist_cfg') or {})
            if options.get('backend', 'nccl') == 'nccl':
                options['backend'] = 'cpu:gloo,cuda:nccl'
            init_dist(launcher, **options)
        return
    if launcher != 'pytorch' or 'RANK' not in os.environ:
        raise UserError(
            f'--launcher {launcher}: expected a GPU or a start by torchrun; '
            'on a CPU use tools/dist_train.sh, which runs --launcher pytorch over gloo'
        )
    if not is_distributed():
        torch.distributed.init_process_group('gloo')
    # MMEngine reads find_unused_parameters only without a wrapper of the config's.
    wrapper = config.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        find_unused_parameters=config.get('find_unused_parameters', False),
    )
    config.model_wrapper_cfg = dict(wrapper, device_ids=None, broadcast_buffers=False)
    config.pop('sync_bn', None)  # SyncBatchNorm needs GPUs


def resume_from_work_dir(config: Config) -> None:
    """Resume from the work dir's last checkpoint, or start as the config says if there is none.

    If there is a checkpoint, ``load_from`` of the config is dropped: MMEngine would take it as the
    checkpoint to resume from.
    """
    last = find_last_checkpoint(config.work_dir)
    config.resume = last is not None
    config.load_from = last or config.get('load_from')


def show_progress(config: Config) -> None:
    """Add ``mmkd.ProgressBarHook`` if the output is a terminal."""
    if sys.stdout.isatty():
        bar = dict(type='mmkd.ProgressBarHook')
        config.custom_hooks = [*(config.get('custom_hooks') or []), bar]
