"""Taps: names for the places of a network where knowledge is read.

A tap is a string: a module's dotted path, then any number of ``[i]`` that index
into that module's output: ``backbone[2]``, ``decode_head.fusion_conv``,
``bbox_head[0][1]``. A module that runs several times in one forward (a detection
head shared by the pyramid's levels) yields the tuple of its outputs, in the order
of its calls, and ``[i]`` indexes that tuple.

One word is no module: ``input_gradient``, the gradient of the network's own task loss with respect
to the batch (:func:`mmkd.ops.gradient.input_gradient`).

Where a paper counts layers, a network may take its numbers: a module that declares
``tap_aliases = {'yolo': {6: 'stage3.1'}}`` has the tap ``yolo[6]`` stand for its
submodule ``stage3.1`` (and ``''`` for itself). Modules may add to one alias.

``attention(backbone.layers.3.1.0.attn)`` reads not what the module returns but how it attends:
a :class:`mmkd.attention_taps.Attention`, whose ``weights()`` are (B, heads, N, M), or of a VMamba's
``op.scan`` a :class:`mmkd.scan_taps.ScanInputs`.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmkd.attention_taps import Attention, check_attention, read_attention
from mmkd.errors import UserError
from mmkd.scan_taps import ScanInputs

_PATH = r'[A-Za-z_]\w*(?:\.\w+)*'
_ATTENTION = re.compile(rf'attention\(({_PATH})\)', re.ASCII)
_GRAMMAR = re.compile(rf'(?P<path>{_PATH}|attention\({_PATH}\))(?P<index>(?:\[-?\d+\])*)', re.ASCII)


@dataclass(frozen=True)
class Tap:
    """One place to read: ``path`` names a module, ``index`` a part of its output.

    The path of a module whose attention is read stands in ``attention(...)``.
    """

    path: str
    index: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.path + ''.join(f'[{i}]' for i in self.index)


# Added to the recording by whoever runs the network's loss.
INPUT_GRADIENT = Tap('input_gradient')


class _AllTapsRead(Exception):  # noqa: N818  (it reports no error)
    """Unwinds a forward pass whose remaining layers nobody reads."""


class Recording:
    """What the modules of one forward pass returned, by module path."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._outputs: dict[str, list[Any]] = {path: [] for path in paths}
        self._versions: dict[tuple[str, int], int] = {}

    def add(self, path: str, output: Any) -> None:
        self._outputs[path].append(output)
        self._versions.update(((path, id(t)), t._version) for t in _tensors(output))

    def calls(self) -> dict[str, int]:
        """How often each module ran."""
        return {path: len(outputs) for path, outputs in self._outputs.items()}

    def read(self, tap: Tap) -> Tensor | Attention | ScanInputs:
        """The tensor, or the attention, at ``tap``.

        Raises:
            UserError: the module did not run, the index does not fit its output,
                what is there is no tensor, or a later layer overwrote it in place.
        """
        outputs = self._outputs[tap.path]
        if not outputs:
            raise UserError(f'tap {str(tap)!r}: the forward pass never ran {tap.path!r}')
        value = outputs[0] if len(outputs) == 1 else tuple(outputs)
        for depth, i in enumerate(tap.index):
            if not isinstance(value, list | tuple) or not -len(value) <= i < len(value):
                at = tap.path + ''.join(f'[{j}]' for j in tap.index[:depth])
                raise UserError(f'tap {str(tap)!r}: {at} is {_describe(value)}, without [{i}]')
            value = value[i]
        if isinstance(value, Attention | ScanInputs):
            return value
        if not isinstance(value, Tensor):
            raise UserError(
                f'tap {str(tap)!r} yields {_describe(value)}, not a tensor; add an index'
            )
        if value._version != self._versions[tap.path, id(value)]:
            raise UserError(
                f'tap {str(tap)!r}: a later layer (such as an activation with inplace=True) '
                f'overwrites the output of {tap.path!r}; tap that layer instead'
            )
        return value


def parse_tap(text: str) -> Tap:
    """Parse ``'module.path[i][j]'``.

    Raises:
        UserError: ``text`` is not of that form.
    """
    match = _GRAMMAR.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UserError(
            f'tap {text!r} is not of the form module.path[i], such as backbone[2] '
            'or decode_head.fusion_conv, or attention(module.path)'
        )
    return Tap(match['path'], tuple(int(i) for i in re.findall(r'-?\d+', match['index'])))


def find_module(model: nn.Module, path: str) -> nn.Module:
    """The submodule of ``model`` at a dotted ``path``, which may stand in ``attention(...)``.

    Raises:
        UserError: there is none, and the message names the nearest paths that exist; or its
            attention cannot be read.
    """
    attention = _ATTENTION.fullmatch(path)
    path = attention[1] if attention else path
    modules = dict(model.named_modules())
    if path in modules:
        if attention:
            check_attention(path, modules[path])
        return modules[path]
    near = difflib.get_close_matches(path, modules, n=3, cutoff=0.4)
    hint = f'nearest: {", ".join(near)}' if near else f'top level: {_children(model)}'
    raise UserError(f'tap {path!r}: {type(model).__name__} has no such module ({hint})')


def resolve_tap(model: nn.Module, tap: Tap) -> Tap:
    """The tap by module path for one that may go by an alias.

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
        raise UserError(f'tap {str(tap)!r} names no layer of this network; allowed: {allowed}')
    return Tap(layers[tap.index[0]], tap.index[1:])


@contextmanager
def record(
    model: nn.Module, taps: Iterable[Tap], stop_after: Mapping[str, int] | None = None
) -> Iterator[Recording]:
    """Record what the tapped modules return while the body runs.

    ``forward`` itself is wrapped for the time of the body: forward hooks would miss
    the modules whose callers use ``.forward`` directly, as MMSegmentation's and
    MMDetection's heads do in their losses. Attention is read by a hook: one also keeps PyTorch's
    transformer layers from a fused path on which their attention never runs.

    Args:
        model: the network that the body runs.
        taps: the places to record.
        stop_after: calls by module path; once every module has run that often, the
            rest of the body is skipped.
    """
    recording = Recording(dict.fromkeys(tap.path for tap in taps))
    restore = []

    def add(path: str, value: Any) -> None:
        recording.add(path, value)
        if stop_after is not None:
            calls = recording.calls()
            if all(calls[p] >= n for p, n in stop_after.items()):
                raise _AllTapsRead

    def hook(path: str, module: nn.Module) -> None:
        def read(module: nn.Module, args: tuple, kwargs: dict, _: Any) -> None:
            add(path, read_attention(module, args, kwargs))

        restore.append(module.register_forward_hook(read, with_kwargs=True).remove)

    def wrap(path: str, module: nn.Module) -> None:
        inner, previous = module.forward, module.__dict__.get('forward')

        def forward(*args: Any, **kwargs: Any) -> Any:
            output = inner(*args, **kwargs)
            add(path, output)
            return output

        def unwrap() -> None:
            if previous is None:
                del module.forward
            else:
                module.forward = previous

        restore.append(unwrap)
        module.forward = forward

    try:
        for path in recording.calls():
            if path == INPUT_GRADIENT.path:
                continue
            listen = hook if _ATTENTION.fullmatch(path) else wrap
            listen(path, find_module(model, path))
        yield recording
    except _AllTapsRead:
        pass
    finally:
        for undo in reversed(restore):
            undo()


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [t for v in value for t in _tensors(v)]
    return []


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f'a tensor of shape {tuple(value.shape)}'
    if isinstance(value, list | tuple):
        return f'a {type(value).__name__} of {len(value)}'
    return f'a {type(value).__name__}'


def _children(model: nn.Module) -> str:
    return ', '.join(name for name, _ in model.named_children())
