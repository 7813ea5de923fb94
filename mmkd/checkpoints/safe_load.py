"""Load checkpoint files without running code from them.

Tensors, plain containers and the few types that MMEngine saves are opened; anything else is an
error. It never falls back to full unpickling. :mod:`mmkd.openmmlab.patches` makes every loader of
MMEngine use this module (``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')``, pickled
annotations). Only :func:`trust_pickles` changes that.
"""

import codecs
import hashlib
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import load_file

from mmkd.errors import UserError, one_line

FORCE_SAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
"""PyTorch's switch: with it, MMEngine's retry with ``weights_only=False`` is safe too."""

# MMEngine's checkpoints also hold histories of logged scalars, as numpy arrays. `__reduce__` gives
# numpy's functions that rebuild them, for the installed version.
NUMPY_TYPES = [
    np.ndarray,
    np.dtype,
    np.ndarray((0,)).__reduce__()[0],
    np.float64(0).__reduce__()[0],
    *{type(np.dtype(code)) for code in '?bBhHiIlLqQefdFDU'},
]


def history_statistic(owner: object, name: str) -> Callable:
    """Replace ``getattr``, by which a pickled history names its statistics.

    The real ``getattr`` would give access to the module globals of any accepted type.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(HistoryBuffer, name)
    owner_name = getattr(owner, '__name__', type(owner).__name__)
    raise pickle.UnpicklingError(f'GLOBAL {owner_name}.{name} is not accepted')


# Functions that pickles of numbers and names call, also under the older names of their modules.
_ARRAY_OF_BUFFER = np.ones(1).__reduce_ex__(5)[0]
_PLAIN = {
    (module, item.__name__): item
    for item in (*NUMPY_TYPES[:4], _ARRAY_OF_BUFFER, OrderedDict, set, frozenset, codecs.encode)
    for module in (
        item.__module__,
        item.__module__.replace('numpy._core', 'numpy.core').replace('builtins', '__builtin__'),
    )
}

MapLocation = str | torch.device | Callable | dict | None


def trust_pickles() -> None:
    """Open all files from now on in this process, even if they run code."""
    os.environ.pop(FORCE_SAFE, None)


def trusts_pickles() -> bool:
    """Return whether this process opens all files."""
    return FORCE_SAFE not in os.environ


def load_checkpoint_file(path: str, map_location: MapLocation = 'cpu') -> Any:
    """Load a checkpoint from a file or an ``http(s)`` URL with ``weights_only=True``.

    A ``.safetensors`` file cannot hold code. Its weights come as ``dict(state_dict=..., meta={})``,
    on the CPU unless ``map_location`` names a device.

    Raises:
        UserError: The file is missing, truncated, not a checkpoint, or holds objects other than
            weights. In the last case none of its code has run.
    """
    path = os.path.expanduser(str(path))
    options = dict(map_location=map_location, weights_only=not trusts_pickles())
    is_url = path.startswith(('http://', 'https://'))
    if not is_url and not Path(path).is_file():
        raise UserError(
            f'checkpoint {path} does not exist: expected a file of weights; correct the path'
        )
    if urlparse(path).path.endswith('.safetensors'):
        return _guarded(path, lambda: _read_safetensors(path, is_url, map_location))
    if is_url:
        options['file_name'] = _cached_name(path)
        return _guarded(path, lambda: torch.hub.load_state_dict_from_url(path, **options))
    return _guarded(path, lambda: torch.load(path, **options))


def _read_safetensors(path: str, is_url: bool, map_location: MapLocation) -> dict[str, dict]:
    if is_url:
        folder = Path(torch.hub.get_dir()) / 'checkpoints'  # where torch.hub keeps its downloads
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / _cached_name(path)
        if not file.is_file():
            torch.hub.download_url_to_file(path, str(file))
        path = str(file)
    device = map_location if isinstance(map_location, str | torch.device) else 'cpu'
    return dict(state_dict=load_file(path, device=str(device)), meta={})


def _cached_name(url: str) -> str:
    """Return the name under which a download is kept.

    PyTorch takes the URL's last part, and gives the weights of one ``model.safetensors`` for those
    of every other. Names that end in a hash, as OpenMMLab's, are of one file only.
    """
    name = Path(urlparse(url).path).name
    hashed = re.search(r'-[0-9a-f]{8,}\.\w+$', name)
    return name if hashed else f'{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}'


def _guarded(path: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL |<class ')([\w.]+)", str(error))
        if named is None:
            raise UserError(f'checkpoint {path} is not a PyTorch checkpoint') from None
        raise UserError(
            f'checkpoint {path} is rejected: it holds {named[1]} beside weights, and opening it '
            'can run code; pass --trust-pickles only for files you created'
        ) from None
    except Exception as error:  # damaged bytes can make the unpickler raise any error
        reason = one_line(error)
        raise UserError(f'checkpoint {path} is damaged or cannot be read ({reason})') from None


class PlainUnpickler(pickle.Unpickler):
    """Open pickled annotations that hold only numbers and names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        raise UserError(
            f'a pickle is rejected: it holds {module}.{name} beside numbers and names, and opening '
            'it can run code; pass --trust-pickles only for files you created'
        )
