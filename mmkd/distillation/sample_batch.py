"""The batch on which a Distiller tries its terms when it is built.

MMEngine builds a model from ``config.model`` alone, which does not name the data. The code that
builds a Distiller lends it a batch: ``with lend_batch(read): MODELS.build(config.model)``. The
batch is not an argument of the Distiller, because its arguments are keys of the config.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mmengine.logging import print_log

from mmkd.errors import UserError

_lent: ContextVar[Callable[[], object] | None] = ContextVar('lent', default=None)


@contextmanager
def lend_batch(read: Callable[[], object]) -> Iterator[None]:
    """Let the Distillers that are built in the body try their terms on a real batch.

    Args:
        read: Returns the batch as a data loader yields it, before the model's preprocessor. It is
            called only if a Distiller is built, and may raise: a synthetic batch then serves.
    """
    token = _lent.set(read)
    try:
        yield
    finally:
        _lent.reset(token)


def borrow_batch() -> object | None:
    """Return the lent batch, or None after one line in the log that says why there is none.

    Raises:
        UserError: The data says itself what is wrong with it.
    """
    read = _lent.get()
    if read is None:
        why = 'the model is built without its data'
    else:
        try:
            return read()
        except UserError:
            raise
        except Exception as error:  # a pipeline may raise anything
            text = ' '.join(str(error).split())
            why = f'no batch of the training data can be read: {type(error).__name__}: {text}'
    print_log(f'distillation terms are tried on a synthetic batch: {why}', 'current')
    return None
