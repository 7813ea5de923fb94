"""Allow one training at a time in a folder."""

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from mmkd.errors import UserError

LOCKED_BY_PARENT = 'MMKD_LOCKED_FOLDER'
"""Environment variable with the folder that a training's parent process has locked for it."""


def lock_folder(folder: Path) -> IO:
    """Lock a training's folder until the returned file is closed in all processes that inherit it.

    Raises:
        BlockingIOError: Another training holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / '.lock', 'w')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise
    return lock


@contextmanager
def exclusive_folder(folder: Path, *, patience: float = math.inf) -> Iterator[None]:
    """Hold the lock on a folder for all processes that train together.

    If another training holds the lock, this waits and logs a message.

    Args:
        folder: The training's folder.
        patience: Maximum time to wait, in seconds.

    Raises:
        UserError: The other training still holds the lock.
    """
    if os.environ.get(LOCKED_BY_PARENT) == str(folder.resolve()):
        yield
        return
    begin, waits = time.monotonic(), False
    while True:
        # The first process holds it for all. The others take part in the loop, so none times out.
        lock = _locked(folder) if is_main_process() else None
        facts = [lock is not None, time.monotonic() - begin > patience]
        broadcast_object_list(facts)
        held, tired = facts
        if held:
            break
        if tired:
            raise UserError(
                f'{folder}: expected no other training here; wait until it ends, or choose another '
                'folder'
            )
        if not waits:
            print_log(f'waiting for the training that runs in {folder}')
        waits = True
        time.sleep(0.5)
    with lock or nullcontext():
        try:
            yield
        finally:
            if lock:  # data loaders' processes can still hold the file open
                fcntl.flock(lock, fcntl.LOCK_UN)


def _locked(folder: Path) -> IO | None:
    try:
        return lock_folder(folder)
    except BlockingIOError:
        return None
