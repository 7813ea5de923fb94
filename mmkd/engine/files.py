"""Writing files that are either whole or not there."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a crash leaves the old file or the new one.

    The data goes to a temporary name in the same folder, to the disk, and only then takes
    the name ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        with open(temporary, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def link_atomically(source: str | Path, path: str | Path) -> None:
    """Give the file ``source`` the further name ``path``, replacing what had it."""
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
        os.replace(temporary, path)
    except OSError:  # a file system without hard links
        temporary.unlink(missing_ok=True)
        write_atomically(path, Path(source).read_bytes())


class AtomicBackend(LocalBackend):
    """MMEngine's local file backend with atomic writes: ``backend_args=dict(backend='atomic')``."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_atomically(filepath, obj)


register_backend('atomic', AtomicBackend, force=True)


def find_last_checkpoint(work_dir: str | Path) -> str | None:
    """The checkpoint to resume from, also in a work dir that was moved; None if there is none."""
    note = Path(work_dir) / 'last_checkpoint'
    if not note.is_file():
        return None
    named = Path(note.read_text().strip())
    here = Path(work_dir) / named.name
    return str(named if named.is_file() or not here.is_file() else here)
