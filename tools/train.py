"""Train a config: a teacher, a student alone, or a distillation (whose teacher is prepared)."""

from pathlib import Path

import torch
from mmengine.runner import Runner

from mmkd.configs import check_checkpoint_hook, check_dataloaders
from mmkd.engine.folder_lock import alone_in
from mmkd.engine.launch import (
    config_parser,
    read_config,
    resume_from_work_dir,
    run_tool,
    set_launcher,
    show_progress,
)
from mmkd.engine.starting_weights import check_starting_weights
from mmkd.engine.teacher_preparation import prepare_teacher
from mmkd.errors import UserError


def main() -> None:
    parser = config_parser(__doc__)
    parser.add_argument('--resume', action='store_true', help="resume work dir's last checkpoint")
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--require-teacher',
        action='store_true',
        help='stop if the teacher has no checkpoint, instead of training it first',
    )
    args = parser.parse_args()
    config = read_config(args)
    if args.resume:
        resume_from_work_dir(config)
    if args.amp:
        if not torch.cuda.is_available():
            raise UserError('--amp needs a GPU: MMEngine trains in full precision on a CPU')
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    check_dataloaders(config, 'train_dataloader', 'val_dataloader')
    check_checkpoint_hook(config)
    set_launcher(config, args.launcher)
    check_starting_weights(config)
    prepare_teacher(config, train=not args.require_teacher)
    show_progress(config)
    # The data loaders of a training that was killed may live, and hold its folder, for seconds.
    with alone_in(Path(config.work_dir), patience=20):
        Runner.from_cfg(config).train()


if __name__ == '__main__':
    run_tool(main)
