"""One training in a folder at a time."""

import fcntl
from pathlib import Path
from typing import IO


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
