"""Writing files that are either whole or not there."""

import os
import tempfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a crash leaves the old file or the new one.

    The data goes to a temporary name in the same folder, to the disk, and only then takes
    the name ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
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
