"""Run a tool and turn errors that you can fix into one line."""

import gc
import sys
import traceback
from collections.abc import Callable

import torch
from mmengine.dist import is_distributed

from mmkd.config.home import expand_argument
from mmkd.errors import UserError
from mmkd.registry import explain_build_error

_ONE_SIZE = 'The image size in a batch should be the same'  # as MMSegmentation asserts it


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; an error that you can fix becomes one line and exit status 2.

    An error from inside a layer or a loss also keeps its traceback above that line. So does a wrong
    argument, because it can come from your network's code.
    """
    sys.argv[1:] = map(expand_argument, sys.argv[1:])
    try:
        main()
        if is_distributed():
            # The threads of a process group must end before the interpreter does. A trained network
            # holds the group, inside a runner that refers to itself.
            gc.collect()
            torch.distributed.destroy_process_group()
    except (KeyError, TypeError) as error:
        line = explain_build_error(error)
        if line is None:
            raise
        if isinstance(error, TypeError):
            traceback.print_exception(error)
        print(f'error: {line}', file=sys.stderr, flush=True)
        sys.exit(2)
    except AssertionError as error:
        if _ONE_SIZE not in str(error):
            raise
        print(
            'error: val_dataloader.batch_size or test_dataloader.batch_size: expected 1 for images '
            'of several sizes; set it to 1',
            file=sys.stderr,
            flush=True,
        )
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
