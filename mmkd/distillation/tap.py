"""Taps: names for the places in a network that terms compare.

A tap is a string: a module's dotted path, then any number of ``[i]`` that index into the module's
output: ``backbone[2]``, ``decode_head.fusion_conv``, ``bbox_head[0][1]``. If a module runs several
times in one forward pass (a detection head shared by the pyramid's levels), the tap gives the tuple
of its outputs in the order of calls, and ``[i]`` indexes that tuple.

One word is not a module: ``input_gradient`` is the gradient of the network's own task loss with
respect to the batch (:func:`mmkd.ops.gradient.input_gradient`).

A network can use the layer numbers of its paper. A module that declares
``tap_aliases = {'yolo': {6: 'stage3.1'}}`` makes the tap ``yolo[6]`` stand for its submodule
``stage3.1`` (and ``''`` for itself). Several modules can add to one alias.

``attention(backbone.layers.3.1.0.attn)`` does not give what the module returns, but how it attends:
a :class:`mmkd.ops.attention_readings.Attention`, whose ``affinity()`` is (B, heads, N, M), or for
VMamba's ``op.scan`` a :class:`mmkd.ops.attention_readings.ScanInputs`.
"""

import difflib
import re
from dataclasses import dataclass

from torch import nn

from mmkd.distillation.attention import check_attention
from mmkd.errors import UserError

_PATH = r'[A-Za-z_]\w*(?:\.\w+)*'
_ATTENTION = re.compile(rf'attention\(({_PATH})\)', re.ASCII)
_GRAMMAR = re.compile(rf'(?P<path>{_PATH}|attention\({_PATH}\))(?P<index>(?:\[-?\d+\])*)', re.ASCII)


@dataclass(frozen=True)
class Tap:
    """One place in a network: ``path`` names a module, ``index`` a part of its output.

    The path of a module whose attention is tapped is written as ``attention(...)``.
    """

    path: str
    index: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.path + ''.join(f'[{i}]' for i in self.index)

    @property
    def reads_attention(self) -> bool:
        """Whether the tap gives the module's attention instead of its output."""
        return _ATTENTION.fullmatch(self.path) is not None


# The code that runs the network's loss adds it to the recording.
INPUT_GRADIENT = Tap('input_gradient')


def parse_tap(text: str) -> Tap:
    """Parse ``'module.path[i][j]'``.

    Raises:
        UserError: ``text`` is not of that form.
    """
    match = _GRAMMAR.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UserError(
            f'tap {text!r}: expected the form module.path[i], such as backbone[2] '
            'or decode_head.fusion_conv, or attention(module.path)'
        )
    return Tap(match['path'], tuple(int(i) for i in re.findall(r'-?\d+', match['index'])))


def find_module(model: nn.Module, path: str) -> nn.Module:
    """Return the submodule of ``model`` at a dotted ``path``, which can be ``attention(...)``.

    Raises:
        UserError: There is none, and the message lists the nearest paths; or its attention cannot
            be read.
    """
    attention = _ATTENTION.fullmatch(path)
    path = attention[1] if attention else path
    try:
        module = model.get_submodule(path)
    except AttributeError:
        raise UserError(_explain_missing(model, path)) from None
    if attention:
        check_attention(path, module)
    return module


def _explain_missing(model: nn.Module, path: str) -> str:
    modules = dict(model.named_modules())
    near = difflib.get_close_matches(path, modules, n=3, cutoff=0.4)
    hint = f'nearest: {", ".join(near)}' if near else f'top level: {_children(model)}'
    return f'tap {path!r}: {type(model).__name__} has no such module ({hint})'


def resolve_tap(model: nn.Module, tap: Tap) -> Tap:
    """Return the tap by module path for a tap that may use an alias.

    Raises:
        UserError: ``model`` has neither the module nor the layer of that number.
    """
    if tap == INPUT_GRADIENT:
        return tap
    layers = {
        number: '.'.join(filter(None, (path, part)))
        for path, module in model.named_modules()
        for number, part in getattr(module, 'tap_aliases', {}).get(tap.path, {}).items()
    }
    if not layers:
        find_module(model, tap.path)
        return tap
    if not tap.index or tap.index[0] not in layers:
        allowed = ', '.join(f'{tap.path}[{number}]' for number in sorted(layers))
        raise UserError(f'tap {str(tap)!r}: expected a layer of this network: {allowed}')
    return Tap(layers[tap.index[0]], tap.index[1:])


def _children(model: nn.Module) -> str:
    return ', '.join(name for name, _ in model.named_children())
