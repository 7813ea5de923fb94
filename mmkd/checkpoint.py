"""Loading checkpoint files without running what strangers wrote into them.

Importing this module makes every checkpoint loader of MMEngine (``load_from``,
``resume``, ``init_cfg=dict(type='Pretrained')``) load in the same way: tensors, plain
containers and the few types that MMEngine itself saves, or an error. There is no
fall-back to full unpickling. The pickles that MMEngine's data sets take as annotations are
opened likewise. Only :func:`trust_pickles` changes that.
"""

import codecs
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.fileio import PickleHandler, register_handler
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmkd.errors import UserError

# What MMEngine's own checkpoints hold beside tensors: histories of logged scalars, as
# numpy arrays. `__reduce__` gives numpy's rebuilding functions for the installed version.
_NUMPY_TYPES = [
    np.ndarray,
    np.dtype,
    np.ndarray((0,)).__reduce__()[0],
    np.float64(0).__reduce__()[0],
    *{type(np.dtype(code)) for code in '?bBhHiIlLqQefdFDU'},
]


def _history_statistic(owner: object, name: str) -> Callable:
    """Stands in for ``getattr``, by which a pickled history names its statistics.

    The real one would lead from any allowed type to its module's globals.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(HistoryBuffer, name)
    owner_name = getattr(owner, '__name__', type(owner).__name__)
    raise pickle.UnpicklingError(f'GLOBAL {owner_name}.{name} is not allowed')


torch.serialization.add_safe_globals(
    [HistoryBuffer, (_history_statistic, 'builtins.getattr'), *_NUMPY_TYPES]
)
# MMEngine retries a file that the safe loader refuses with weights_only=False;
# PyTorch's own switch makes that retry safe as well, for every URL scheme.
_SAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
os.environ[_SAFE] = '1'

# What pickles of numbers and names call. numpy's modules and Python's have had other names.
_ARRAY_OF_BUFFER = np.ones(1).__reduce_ex__(5)[0]
_PLAIN = {
    (module, item.__name__): item
    for item in (*_NUMPY_TYPES[:4], _ARRAY_OF_BUFFER, OrderedDict, set, frozenset, codecs.encode)
    for module in (
        item.__module__,
        item.__module__.replace('numpy._core', 'numpy.core').replace('builtins', '__builtin__'),
    )
}

MapLocation = str | torch.device | Callable | dict | None


def trust_pickles() -> None:
    """From now on, in this process, open files whatever they hold, which runs the code in them."""
    os.environ.pop(_SAFE, None)


def load_checkpoint_file(path: str, map_location: MapLocation = 'cpu') -> Any:
    """Load a checkpoint from a file or an ``http(s)`` URL with ``weights_only=True``.

    Raises:
        UserError: the file is missing, truncated, no checkpoint, or holds objects
            other than weights (in which case none of its code has run).
    """
    path = str(path)
    options = dict(map_location=map_location, weights_only=_SAFE in os.environ)
    if path.startswith(('http://', 'https://')):
        return _guarded(path, lambda: torch.hub.load_state_dict_from_url(path, **options))
    if not Path(path).is_file():
        raise UserError(f'checkpoint {path} does not exist')
    return _guarded(path, lambda: torch.load(path, **options))


def load_weights(network: nn.Module, checkpoint: Any, source: str, *, exact: bool = False) -> None:
    """Load a whole checkpoint into ``network``.

    Args:
        network: receives the weights.
        checkpoint: what a checkpoint file holds: a state dict, or a dict with ``state_dict``.
        source: where it came from, for messages.
        exact: whether heads that the network has not, such as auxiliary ones, may not lie in the
            file either.

    Raises:
        UserError: weights are missing, have another shape than the network's, or are more than it
            has: those of a deeper network would fit in part.
    """
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f'{source} holds no state_dict')
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    own = network.state_dict()
    missing = [k for k in own if k not in state and not k.endswith('num_batches_tracked')]
    if missing:
        raise UserError(
            f'{source} does not fit its config: {len(missing)} of {len(own)} weights are missing, '
            f'such as {missing[0]}'
        )
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            raise UserError(
                f'{source} does not fit its config: {key} is {tuple(state[key].shape)} in the '
                f'file but {tuple(value.shape)} in the network; check num_classes and sizes'
            )
    parts = {name for name, _ in network.named_children()}
    unused = [k for k in state if k not in own and (exact or k.partition('.')[0] in parts)]
    unused = [k for k in unused if not k.endswith('num_batches_tracked')]
    if unused:
        raise UserError(
            f'{source} does not fit its config: {len(unused)} weights of the file are in no layer '
            f'of the network, such as {unused[0]}; check its depth'
        )
    network.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)


def _guarded(path: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL |<class ')([\w.]+)", str(error))
        if named is None:
            raise UserError(f'checkpoint {path} is not a PyTorch checkpoint') from None
        raise UserError(
            f'checkpoint {path} is refused: it holds {named[1]} beside weights, '
            'and opening such a file can run code; --trust-pickles opens it all the same'
        ) from None
    except Exception as error:  # damaged bytes make the unpickler raise almost anything
        reason = ' '.join(str(error).split())[:120] or type(error).__name__
        raise UserError(f'checkpoint {path} is damaged or cannot be read ({reason})') from None


def _load_for_mmengine(filename: str, map_location: MapLocation = None) -> Any:
    return load_checkpoint_file(filename, map_location)


CheckpointLoader.register_scheme(
    prefixes=['', 'http://', 'https://'], loader=_load_for_mmengine, force=True
)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        raise UserError(
            f'a pickle is refused: it holds {module}.{name} beside numbers and names, '
            'and opening such a file can run code; --trust-pickles opens it all the same'
        )


@register_handler(['pickle', 'pkl'])
class _PlainPickleHandler(PickleHandler):
    def load_from_fileobj(self, file: BinaryIO, **kwargs: Any) -> Any:
        if _SAFE in os.environ:
            return _PlainUnpickler(file, **kwargs).load()
        return super().load_from_fileobj(file, **kwargs)
