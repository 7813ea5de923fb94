"""Find out how to read a module's attention.

A module can define a method ``read_attention`` with the signature of its ``forward``, as
:class:`mmkd.models.vmamba.FourPathScan` does. For blocks of other libraries see
:mod:`mmkd.openmmlab.attention_readers`.
"""

import inspect
from typing import Any

from torch import nn

from mmkd.errors import UserError
from mmkd.openmmlab.attention_readers import READERS
from mmkd.ops.attention_readings import AttentionReading


def check_attention(path: str, module: nn.Module) -> None:
    """Check that the attention of ``module`` can be read.

    Raises:
        UserError: The block is of another kind; the message lists those that can be read.
    """
    if _is_readable(module):
        return
    name = type(module).__name__
    inside = [f'{path}.{n}' for n, m in module.named_modules() if _is_readable(m)]
    if inside:
        why = f'is a {name}; inside it: {", ".join(inside[:3])}'
    elif 'Window' in name:
        why = f'is a {name}, whose attention sees one window at a time and not the image'
    elif type(module).__module__.startswith('timm.'):
        why = f"is timm's {name}, whose queries and keys differ from model to model"
    else:
        why = f'is a {name}'
    raise UserError(
        f"tap 'attention({path})': expected torch's nn.MultiheadAttention, MMSegmentation's "
        f"SegFormer blocks or VMamba's scans; {path} {why}"
    )


def read_attention(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> AttentionReading:
    """Return the attention of ``module`` in a call ``module(*args, **kwargs)``.

    Args:
        module: A module that :func:`check_attention` accepts.
        args: Positional arguments of the call.
        kwargs: Named arguments of the call.
    """
    if hasattr(module, 'read_attention'):
        return module.read_attention(*args, **kwargs)
    reader = next(read for kind, read in READERS.items() if isinstance(module, kind))
    call = inspect.signature(type(module).forward).bind(module, *args, **kwargs)
    return reader(module, call.arguments)


def _is_readable(module: nn.Module) -> bool:
    return hasattr(module, 'read_attention') or isinstance(module, tuple(READERS))
