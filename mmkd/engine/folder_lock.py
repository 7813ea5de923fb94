"""One training in a folder at a time."""

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

HELD_FOR_ME = 'MMKD_LOCKED_FOLDER'
"""Environment variable: the folder that a training's parent process has locked for it."""


def lock_folder(folder: Path) -> IO:
    """Lock a training's folder until the file returned is closed, here and where it is inherited.

    Raises:
        BlockingIOError: another training has it.
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
def alone_in(folder: Path, *, patience: float = math.inf) -> Iterator[None]:
    """Hold the lock on a folder for all processes that train together.

    While another training has it this waits, and says so.

    Args:
        folder: the training's folder.
        patience: how long to wait, in seconds.

    Raises:
        UserError: the other training has it still.
    """
    if os.environ.get(HELD_FOR_ME) == str(folder.resolve()):
        yield
        return
    begin, waits = time.monotonic(), False
    while True:
        # The first process holds it for all; the others ask along, for none may wait too long.
        lock = _locked(folder) if is_main_process() else None
        facts = [lock is not None, time.monotonic() - begin > patience]
        broadcast_object_list(facts)
        held, tired = facts
        if held:
            break
        if tired:
            raise UserError(
                f'another training runs in {folder}; wait for its end, or choose another folder'
            )
        if not waits:
            print_log(f'waiting for the training that goes on in {folder}')
        waits = True
        time.sleep(0.5)
    with lock or nullcontext():
        try:
            yield
        finally:
            if lock:  # data loaders' processes may still hold the file open
                fcntl.flock(lock, fcntl.LOCK_UN)


def _locked(folder: Path) -> IO | None:
    try:
        return lock_folder(folder)
    except BlockingIOError:
        return None
