"""Write files that are either complete or absent."""

import os
import re
from pathlib import Path

from mmengine.fileio import LocalBackend

from mmkd.errors import UserError

_NUMBERED = re.compile(r'(?:iter|epoch)_(\d+)\.pth')


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a crash leaves the old file or the new one.

    The data goes to a temporary file in the same folder and to the disk, and only then gets the
    name ``path``. When the function returns, the new name is on the disk too.
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
    """Give the file ``source`` a second name ``path``, replacing an existing file."""
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
        os.replace(temporary, path)
        temporary.unlink(missing_ok=True)  # it remains if both already named the same file
    except OSError:  # the file system does not support hard links
        temporary.unlink(missing_ok=True)
        write_atomically(path, Path(source).read_bytes())


class AtomicBackend(LocalBackend):
    """MMEngine's local file backend with atomic writes: ``backend_args=dict(backend='atomic')``."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_atomically(filepath, obj)


def remove_partial_checkpoints(work_dir: str | Path) -> None:
    """Delete files that killed processes left half-written."""
    for path in Path(work_dir).glob('.*.pth.[0-9]*'):
        path.unlink(missing_ok=True)


def find_last_checkpoint(work_dir: str | Path) -> str | None:
    """Return the checkpoint to resume from, also in a moved work dir; None if there is none.

    MMEngine names it in ``last_checkpoint``, which is not written atomically. If a crash or a full
    disk left that file empty or with zeros, the checkpoint with the highest number counts. A file
    of that name in this work dir comes first, because the recorded path may belong to another run
    after the work dir was moved or copied. Outside of it, only a folder with the work dir's name
    counts, which is where a hook's ``out_dir`` puts the run's files, and only if it is not a work
    dir itself: in ablations, those of several runs have one name.

    Raises:
        UserError: The only checkpoint is that of another run.
    """
    folder = Path(work_dir)
    note = folder / 'last_checkpoint'
    text = note.read_text(errors='replace').strip('\0 \n') if note.is_file() else ''
    for path in (folder / Path(text).name, Path(text)):
        of_this_run = path.parent == folder or (
            path.parent.name == folder.resolve().name and not (path.parent / note.name).is_file()
        )
        if of_this_run and os.path.isfile(path):  # False, no error, where it cannot be a path
            return str(path)
    numbers = {path: _NUMBERED.fullmatch(path.name) for path in folder.glob('*.pth')}
    numbers = {path: int(match[1]) for path, match in numbers.items() if match}
    if numbers:
        return str(max(numbers, key=numbers.get))
    if os.path.isfile(text):
        raise UserError(
            f'{note} names {text}, the checkpoint of another run: expected one in {folder}; copy '
            f'it there, or remove {note.name} to start anew'
        )
    return text or None
