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
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmkd.errors import UserError

_GRAMMAR = re.compile(r'(?P<path>[A-Za-z_]\w*(?:\.\w+)*)(?P<index>(?:\[-?\d+\])*)', re.ASCII)


@dataclass(frozen=True)
class Tap:
    """One place to read: ``path`` names a module, ``index`` a part of its output."""

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

    def read(self, tap: Tap) -> Tensor:
        """The tensor at ``tap``.

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
            'or decode_head.fusion_conv'
        )
    return Tap(match['path'], tuple(int(i) for i in re.findall(r'-?\d+', match['index'])))


def find_module(model: nn.Module, path: str) -> nn.Module:
    """The submodule of ``model`` at a dotted ``path``.

    Raises:
        UserError: there is none; the message names the nearest paths that exist.
    """
    modules = dict(model.named_modules())
    if path in modules:
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
    MMDetection's heads do in their losses.

    Args:
        model: the network that the body runs.
        taps: the places to record.
        stop_after: calls by module path; once every module has run that often, the
            rest of the body is skipped.
    """
    recording = Recording(dict.fromkeys(tap.path for tap in taps))
    restore = []

    def wrap(path: str, module: nn.Module) -> None:
        inner = module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            output = inner(*args, **kwargs)
            recording.add(path, output)
            if stop_after is not None:
                calls = recording.calls()
                if all(calls[p] >= n for p, n in stop_after.items()):
                    raise _AllTapsRead
            return output

        restore.append((module, module.__dict__.get('forward')))
        module.forward = forward

    try:
        for path in recording.calls():
            if path != INPUT_GRADIENT.path:
                wrap(path, find_module(model, path))
        yield recording
    except _AllTapsRead:
        pass
    finally:
        for module, previous in reversed(restore):
            if previous is None:
                del module.forward
            else:
                module.forward = previous


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
