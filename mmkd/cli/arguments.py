"""Arguments that several tools share."""

import argparse
from pathlib import Path

from mmengine.config import Config

from mmkd.checkpoints.safe_load import trust_pickles
from mmkd.config.checks.sections import check_library
from mmkd.config.load import config_name, import_modules, load_config
from mmkd.config.options import ConfigOptions, merge_options
from mmkd.errors import check_path


class TrustPickles(argparse.Action):
    """``--trust-pickles``, which takes effect as soon as it is parsed."""

    def __call__(self, *_: object) -> None:
        trust_pickles()


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-pickles``, which opens files that hold more than weights."""
    parser.add_argument(
        '--trust-pickles',
        nargs=0,
        action=TrustPickles,
        help='open checkpoints and pickled annotations with any content. '
        'THIS RUNS THE CODE IN THEM: use it only for files you created',
    )


def positive(text: str) -> int:
    """Parse an argument that is an integer >= 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r}: expected an integer >= 1')
    return int(text)


def config_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every tool that runs a config."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=description)
    parser.add_argument(
        'config', help='a config file, or LIBRARY::PATH, such as mmkd::segformer_fastscnn_freq.py'
    )
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints '
        '(default: work_dir of the config, else work_dirs/NAME; mmkd test: its subfolder test)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help="change the config, such as train_cfg.max_iters=40; 'mmkd config' prints its keys",
    )
    add_trust_argument(parser)
    return parser


def add_launcher_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``, for tools that several processes can run together."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='launcher of several processes; tools/dist_train.sh sets it',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)


def load_config_from_args(args: argparse.Namespace) -> Config:
    """Return the config that the arguments of ``config_parser`` name.

    Raises:
        UserError: The config does not exist or does not have a model, an option does not fit, the
            library of its networks is not installed, or ``work_dir`` is not a path.
    """
    config = load_config(args.config)
    options = args.cfg_options or {}
    merge_options(config, options)
    if any(option.split('.')[0] == 'custom_imports' for option in options):
        import_modules(args.config, config.custom_imports)
    check_library(config)
    if args.work_dir or config.get('work_dir') is None:
        config.work_dir = args.work_dir or str(Path('work_dirs') / config_name(args.config))
    check_path('work_dir', config.work_dir)
    return config
