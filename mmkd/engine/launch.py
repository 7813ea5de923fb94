"""What every command-line tool does around its work: processes, overrides, one-line errors."""

import os
import sys
from collections.abc import Callable

import torch
from mmengine.config import Config

from mmkd.errors import UserError


def set_launcher(config: Config, launcher: str) -> None:
    """Choose the launcher; without a GPU, ``pytorch`` runs over gloo on the CPU.

    MMEngine's own start-up needs a CUDA device per process, so the process group is made here.

    Raises:
        UserError: the launcher was chosen but did not start this process.
    """
    config.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher != 'pytorch' or 'RANK' not in os.environ:
        raise UserError(
            f'--launcher {launcher} needs a GPU or a start by torchrun; '
            'on a CPU use tools/dist_train.sh, which runs --launcher pytorch over gloo'
        )
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    config.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
    )
    config.pop('sync_bn', None)  # SyncBatchNorm exists on GPUs only


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; what the user can mend becomes one line and exit status 2."""
    try:
        main()
    except (UserError, OSError) as error:
        # An error in a data-loading process arrives with that process's traceback as text.
        line = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        line = line.removeprefix(f'{UserError.__module__}.{UserError.__name__}: ')
        print(f'error: {line}', file=sys.stderr, flush=True)
        # Without the usual interpreter shutdown: other ranks may wait for this process.
        sys.exit(2)
