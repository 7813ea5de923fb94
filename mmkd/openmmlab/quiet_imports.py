"""Import MMSegmentation and MMDetection without messages about packages you do not need."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Suppress output and warnings of imports in the block, such as 'Could not import OneDL'.

    An import that fails still raises. The warning filters that libraries set are kept.
    """
    show, warnings.showwarning = warnings.showwarning, lambda *args, **kwargs: None
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        warnings.showwarning = show
