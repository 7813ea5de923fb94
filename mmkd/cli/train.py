"""Train a config: a teacher, a baseline, or a distillation, whose teacher is prepared first."""

from pathlib import Path

from mmengine.device import get_device

from mmkd.cli.arguments import add_launcher_argument, config_parser, load_config_from_args
from mmkd.config.checks.data import settle_worker_options
from mmkd.config.checks.training import check_training
from mmkd.engine.check_load_from import check_load_from
from mmkd.engine.distill_runner import DistillRunner
from mmkd.engine.folder_lock import exclusive_folder
from mmkd.engine.launch import resume_from_work_dir, set_launcher, show_progress
from mmkd.engine.teacher_preparation import prepare_teacher
from mmkd.engine.work_dir import check_work_dir


def main() -> None:
    parser = config_parser(__doc__)
    add_launcher_argument(parser)
    parser.add_argument(
        '--resume', action='store_true', help='continue from the last checkpoint in the work dir'
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision: float16 on a GPU, bfloat16 on a CPU'
    )
    parser.add_argument(
        '--require-teacher',
        action='store_true',
        help='stop with an error if the checkpoint of the teacher is missing; do not train it',
    )
    args = parser.parse_args()
    config = load_config_from_args(args)
    if args.resume:
        resume_from_work_dir(config)
    if args.amp:
        if get_device() == 'cpu':
            config.optim_wrapper.type = 'mmkd.CpuAmpOptimWrapper'
            for key in ('loss_scale', 'dtype'):  # of AmpOptimWrapper
                config.optim_wrapper.pop(key, None)
        else:
            config.optim_wrapper.type = 'AmpOptimWrapper'
            config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    settle_worker_options(config)
    check_training(config)
    check_work_dir(config)
    set_launcher(config, args.launcher)
    check_load_from(config)
    prepare_teacher(config, train=not args.require_teacher)
    show_progress(config)
    # The data loaders of a killed training can live, and hold its folder, for some seconds.
    with exclusive_folder(Path(config.work_dir), patience=20):
        check_work_dir(config)  # the training that was waited for may have left checkpoints
        DistillRunner.from_cfg(config).train()
