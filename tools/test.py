"""Evaluate a checkpoint: of a distillation config (its student), or of any other config."""

import argparse
from pathlib import Path

from mmengine.config import DictAction
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmkd.checkpoint import load_checkpoint_file, load_weights
from mmkd.configs import check_data_roots, is_distillation, load_config, student_config
from mmkd.engine.launch import run_tool, set_launcher


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('config', help="a distillation's config, or the student's own")
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='where the log goes')
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
    if is_distillation(config):
        config = student_config(config)
    config.work_dir = args.work_dir or str(Path('work_dirs') / Path(args.config).stem)
    check_data_roots(config, 'test_dataloader')
    set_launcher(config, args.launcher)
    runner = Runner.from_cfg(config)
    network = runner.model.module if is_model_wrapper(runner.model) else runner.model
    load_weights(network, load_checkpoint_file(args.checkpoint), f'checkpoint {args.checkpoint}')
    runner.test()


if __name__ == '__main__':
    run_tool(main)
