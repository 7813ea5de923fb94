"""Train a config: a teacher, a student alone, or a distillation (whose teacher is prepared)."""

import argparse
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.runner import Runner

from mmkd.configs import check_checkpoint_interval, check_data_roots, load_config
from mmkd.engine.files import find_last_checkpoint
from mmkd.engine.launch import run_tool, set_launcher
from mmkd.engine.teacher_preparation import prepare_teacher
from mmkd.errors import UserError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('config', help='config file, or library::path such as mmseg::...')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument('--resume', action='store_true', help="resume work dir's last checkpoint")
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--require-teacher',
        action='store_true',
        help='stop if the teacher has no checkpoint, instead of training it first',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='overrides, as key=value'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = load_config(args.config)
    if args.cfg_options:
        config.merge_from_dict(args.cfg_options)
    if args.work_dir or config.get('work_dir') is None:
        config.work_dir = args.work_dir or str(Path('work_dirs') / Path(args.config).stem)
    config.resume = args.resume or config.get('resume', False)
    if config.resume and not config.get('load_from'):
        config.load_from = find_last_checkpoint(config.work_dir)
    if args.amp:
        if not torch.cuda.is_available():
            raise UserError('--amp needs a GPU: MMEngine trains in full precision on a CPU')
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    check_data_roots(config, 'train_dataloader', 'val_dataloader')
    check_checkpoint_interval(config)
    set_launcher(config, args.launcher)
    prepare_teacher(config, train=not args.require_teacher)
    Runner.from_cfg(config).train()


if __name__ == '__main__':
    run_tool(main)
