"""What the command-line tools share: their arguments, processes and one-line errors."""

import argparse
import gc
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import init_dist, is_distributed
from mmengine.runner import Runner

from mmkd.checkpoint import trust_pickles
from mmkd.configs import config_name, is_distillation, load_config
from mmkd.engine.files import find_last_checkpoint
from mmkd.errors import UserError
from mmkd.registry import why_not_built

_SECTIONS = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'optim_wrapper',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'default_hooks',
    'env_cfg',
    'randomness',
)


class ConfigOptions(DictAction):
    """``--cfg-options``, whose mistakes are the command line's."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        for text in values:
            try:
                super().__call__(parser, namespace, [text], option_string)
            except (AssertionError, RecursionError, ValueError):
                raise argparse.ArgumentError(
                    self, f'{text[:80]!r}; allowed: key=value, with balanced brackets'
                ) from None


class TrustPickles(argparse.Action):
    """``--trust-pickles``, which holds from the moment it is read."""

    def __call__(self, *_: object) -> None:
        trust_pickles()


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Let a tool open files that hold more than weights, if its user says so."""
    parser.add_argument(
        '--trust-pickles',
        nargs=0,
        action=TrustPickles,
        help='open checkpoints and pickled annotations whatever they hold, '
        'WHICH RUNS THE CODE IN THEM: for files of your own only',
    )


def positive(text: str) -> int:
    """``type`` of an argument that is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r}; allowed: a whole number above 0')
    return int(text)


def config_parser(description: str) -> argparse.ArgumentParser:
    """A parser of what every tool that runs a config takes."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=description)
    parser.add_argument('config', help='config file, or library::path such as mmseg::...')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, help='overrides, as key=value'
    )
    add_trust_argument(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    return parser


def read_config(args: argparse.Namespace) -> Config:
    """The config that the arguments of ``config_parser`` ask for.

    Raises:
        UserError: there is no such config, it has no model, or an option does not fit.
    """
    config = load_config(args.config)
    merge_options(config, args.cfg_options or {})
    if args.work_dir or config.get('work_dir') is None:
        config.work_dir = args.work_dir or str(Path('work_dirs') / config_name(args.config))
    return config


def _check_sections(config: Config) -> None:
    for key in _SECTIONS:
        left_out = key != 'model' and config.get(key) is None
        if not left_out and not isinstance(config[key], dict):
            raise UserError(f'{key}={config[key]!r}; allowed: a dict')
    for key, hook in (config.get('default_hooks') or {}).items():
        if not isinstance(hook, dict | None):
            raise UserError(f'default_hooks.{key}={hook!r}; allowed: a dict')
    hooks = config.get('custom_hooks') or []
    if not isinstance(hooks, list) or not all(isinstance(hook, dict) for hook in hooks):
        raise UserError(f'custom_hooks={hooks!r}; allowed: a list of dicts')
    if is_distillation(config) and not isinstance(config.model.get('student'), dict):
        raise UserError(f'model.student={config.model.get("student")!r}; allowed: a dict')
    # MMEngine reads it last of all, when a missing teacher has already trained.
    allowed = list(inspect.signature(Runner.set_randomness).parameters)[1:]
    for key in config.get('randomness') or {}:
        if key not in allowed:
            raise UserError(f'randomness takes no {key!r}; allowed: {", ".join(allowed)}')
    seed = (config.get('randomness') or {}).get('seed')
    if seed is not None and not (type(seed) is int and 0 <= seed < 2**32):
        raise UserError(f'randomness.seed={seed!r}; allowed: a whole number from 0 to {2**32 - 1}')


def merge_options(config: Config, options: dict) -> None:
    """Override parts of ``config`` by ``--cfg-options``.

    Raises:
        UserError: an option names a part of something that has no parts, or a part of the config
            is none that can be.
    """
    try:
        config.merge_from_dict(options)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = ' '.join(str(error).split())[:120]
        raise UserError(f'--cfg-options {", ".join(options)} do not fit: {reason}') from None
    _check_sections(config)


def set_launcher(config: Config, launcher: str) -> None:
    """Choose the launcher and join the other processes.

    Without a GPU, ``pytorch`` runs over gloo on the CPU; MMEngine's own start-up would want a
    CUDA device for each process.

    Raises:
        UserError: the launcher was chosen but did not start this process.
    """
    config.launcher = launcher
    if launcher == 'none':
        return
    if torch.cuda.is_available():
        if not is_distributed():
            # gloo beside NCCL: a Distiller is built on the CPU, where some detectors' losses, which
            # its dry pass runs, already ask what the other processes count.
            options = dict((config.get('env_cfg') or {}).get('dist_cfg') or {})
            if options.get('backend', 'nccl') == 'nccl':
                options['backend'] = 'cpu:gloo,cuda:nccl'
            init_dist(launcher, **options)
        return
    if launcher != 'pytorch' or 'RANK' not in os.environ:
        raise UserError(
            f'--launcher {launcher} needs a GPU or a start by torchrun; '
            'on a CPU use tools/dist_train.sh, which runs --launcher pytorch over gloo'
        )
    if not is_distributed():
        torch.distributed.init_process_group('gloo')
    config.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
    )
    config.pop('sync_bn', None)  # SyncBatchNorm exists on GPUs only


def resume_from_work_dir(config: Config) -> None:
    """Go on from the work dir's last checkpoint, or start as the config says if it has none.

    A config's ``load_from``, weights to start from, counts only then: MMEngine would take it for
    the checkpoint to resume.
    """
    last = find_last_checkpoint(config.work_dir)
    config.resume = last is not None
    config.load_from = last or config.get('load_from')


def show_progress(config: Config) -> None:
    """Add ``mmkd.ProgressBarHook`` if the output is a terminal."""
    if sys.stdout.isatty():
        bar = dict(type='mmkd.ProgressBarHook')
        config.custom_hooks = [*(config.get('custom_hooks') or []), bar]


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; what the user can mend becomes one line and exit status 2.

    An error that came out of a layer or a loss keeps its traceback above that line, and so does a
    wrong argument, which may be one within a network of the user's own.
    """
    try:
        main()
        if is_distributed():
            # Its threads must not outlive the interpreter, and end with the last that holds the
            # group: a network that was trained, in a runner that refers to itself.
            gc.collect()
            torch.distributed.destroy_process_group()
    except (KeyError, TypeError) as error:
        line = why_not_built(error)
        if line is None:
            raise
        if isinstance(error, TypeError):
            traceback.print_exception(error)
        print(f'error: {line}', file=sys.stderr, flush=True)
        sys.exit(2)
    except (UserError, OSError) as error:
        if isinstance(error.__cause__, RuntimeError):
            traceback.print_exception(error)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # An error in a data-loading process arrives with that process's traceback as text.
        line = lines[-1] if lines[0].startswith('Caught ') else ' '.join(lines)
        line = line.removeprefix(f'{UserError.__module__}.{UserError.__name__}: ')
        print(f'error: {line}', file=sys.stderr, flush=True)
        sys.exit(2)
