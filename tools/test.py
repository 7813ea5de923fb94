"""Evaluate a checkpoint: of a distillation config (its student), or of any other config."""

from pathlib import Path

from mmengine.runner import Runner

from mmkd.checkpoint import load_checkpoint_file, load_weights
from mmkd.configs import check_dataloaders, is_distillation, student_config
from mmkd.engine.launch import config_parser, read_config, run_tool, set_launcher
from mmkd.engine.wrapping import unwrapped


def main() -> None:
    parser = config_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file')
    args = parser.parse_args()
    config = read_config(args)
    if not args.work_dir:  # the folder above is a training's, which its own config describes
        config.work_dir = str(Path(config.work_dir) / 'test')
    if is_distillation(config):
        work_dir = config.work_dir
        config = student_config(config)
        config.work_dir = work_dir
    check_dataloaders(config, 'test_dataloader')
    set_launcher(config, args.launcher)
    runner = Runner.from_cfg(config)
    weights = load_checkpoint_file(args.checkpoint)
    load_weights(unwrapped(runner.model), weights, f'checkpoint {args.checkpoint}')
    runner.test()


if __name__ == '__main__':
    run_tool(main)
