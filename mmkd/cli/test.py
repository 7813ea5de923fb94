"""Evaluate a checkpoint of a distillation config (its student) or of any other config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from mmkd.checkpoints.load_weights import load_weights
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.cli.arguments import add_launcher_argument, config_parser, load_config_from_args
from mmkd.config.checks.data import check_dataloaders, settle_worker_options
from mmkd.config.student import is_distillation, student_config
from mmkd.datasets.class_order import check_class_order, classes_of
from mmkd.engine.launch import set_launcher
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError


def main() -> None:
    parser = config_parser(__doc__)
    add_launcher_argument(parser)
    parser.add_argument('checkpoint', help='checkpoint to evaluate, such as best.pth')
    args = parser.parse_args()
    config = load_config_from_args(args)
    if not args.work_dir:  # the checkpoint's folder belongs to its training
        config.work_dir = str(Path(config.work_dir) / 'test')
    if is_distillation(config):
        work_dir = config.work_dir
        config = student_config(config)
        config.work_dir = work_dir
    for key in ('test_dataloader', 'test_evaluator'):
        if config.get(key) is None:
            own = key.replace('test', 'val')
            raise UserError(
                f'{key}=None: expected what to test on; set {key} = {own} in the config'
            )
    config.test_cfg = config.get('test_cfg') or dict(type='TestLoop')
    # MMEngine would load them over the checkpoint, before it tests.
    config.load_from, config.resume = None, False
    settle_worker_options(config)
    check_dataloaders(config, 'test_dataloader')
    weights = load_checkpoint_file(args.checkpoint)  # first, because it can be missing
    set_launcher(config, args.launcher)
    runner = Runner.from_cfg(config)
    load_weights(unwrapped(runner.model), weights, f'checkpoint {args.checkpoint}')
    learned = _learned_classes(weights.get('meta') if isinstance(weights, dict) else None)
    classes = classes_of(runner.test_loop.dataloader.dataset)
    check_class_order('test_dataloader', classes, learned, f'checkpoint {args.checkpoint}')
    runner.test()


def _learned_classes(meta: Any) -> Sequence[str] | None:
    """Return the classes of the training data, which MMEngine notes, or None without it."""
    facts = meta.get('dataset_meta') if isinstance(meta, dict) else None
    classes = facts.get('classes') if isinstance(facts, dict) else None
    named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    return classes if named else None
