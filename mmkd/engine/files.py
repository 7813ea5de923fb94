"""Writing files that are either whole or not there."""

import os
import re
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

_NUMBERED = re.compile(r'(?:iter|epoch)_(\d+)\.pth')


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a crash leaves the old file or the new one.

    The data goes to a temporary name in the same folder, to the disk, and only then takes
    the name ``path``; the name too is on the disk when this returns.
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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def link_atomically(source: str | Path, path: str | Path) -> None:
    """Give the file ``source`` the further name ``path``, replacing what had it."""
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
        os.replace(temporary, path)
        temporary.unlink(missing_ok=True)  # it stays if both were names of one file already
    except OSError:  # a file system without hard links
        temporary.unlink(missing_ok=True)
        write_atomically(path, Path(source).read_bytes())


class AtomicBackend(LocalBackend):
    """MMEngine's local file backend with atomic writes: ``backend_args=dict(backend='atomic')``."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_atomically(filepath, obj)


register_backend('atomic', AtomicBackend, force=True)


def remove_partial_checkpoints(work_dir: str | Path) -> None:
    """Delete what processes that were killed had begun to write."""
    for path in Path(work_dir).glob('.*.pth.[0-9]*'):
        path.unlink(missing_ok=True)


def find_last_checkpoint(work_dir: str | Path) -> str | None:
    """The checkpoint to resume from, also in a work dir that was moved; None if there is none.

    MMEngine names it in ``last_checkpoint``, which is not written atomically. Where a crash or a
    full disk left that file empty, or with zeros, the checkpoint of the highest number counts.
    A file of that name in the work dir itself comes first: where the dir was moved or copied from,
    another run may lie by now.
    """
    folder = Path(work_dir)
    note = folder / 'last_checkpoint'
    text = note.read_text(errors='replace').strip('\0 \n') if note.is_file() else ''
    for path in (folder / Path(text).name, Path(text)):
        if path.is_file():
            return str(path)
    numbers = {path: _NUMBERED.fullmatch(path.name) for path in folder.glob('*.pth')}
    numbers = {path: int(match[1]) for path, match in numbers.items() if match}
    if numbers:
        return str(max(numbers, key=numbers.get))
    return text or None
