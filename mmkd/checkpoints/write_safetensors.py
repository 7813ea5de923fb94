"""Write a network's weights as a ``.safetensors`` file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from mmkd.checkpoints.atomic_files import write_atomically


def write_safetensors(path: str | Path, weights: Mapping[str, Tensor]) -> None:
    """Write ``weights`` to ``path``, whole or not at all.

    Tensors that share memory are written once each, because the format has no references.

    Args:
        path: The file, ``*.safetensors``.
        weights: Tensors by name.
    """
    own = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    write_atomically(path, save(own, metadata=dict(format='pt')))
