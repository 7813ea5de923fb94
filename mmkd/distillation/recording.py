"""Record what the tapped modules of a network return in one forward pass."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mmkd.distillation.attention import read_attention
from mmkd.distillation.tap import INPUT_GRADIENT, Tap, find_module
from mmkd.errors import UserError
from mmkd.ops.attention_readings import AttentionReading


class _AllTapsRead(Exception):  # noqa: N818  (it reports no error)
    """End a forward pass early, when no tap needs the remaining layers."""


class Recording:
    """The outputs of the modules of one forward pass, by module path."""

    def __init__(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        self._outputs: dict[str, list[Any]] = {path: [] for path in paths}
        # Of each call, its tensors and their versions, by id. A tensor that is kept keeps its id.
        self._versions: dict[str, list[dict[int, tuple[Tensor, int]]]] = {p: [] for p in paths}

    def add(self, path: str, output: Any) -> None:
        self._outputs[path].append(output)
        self._versions[path].append({id(t): (t, t._version) for t in _tensors(output)})

    def calls(self) -> dict[str, int]:
        """Return how often each module ran."""
        return {path: len(outputs) for path, outputs in self._outputs.items()}

    def holds(self, taps: Iterable[Tap]) -> bool:
        """Return whether every tap can be read."""
        try:
            for tap in taps:
                self[tap]  # which raises if it cannot be read
        except UserError:
            return False
        return True

    def __getitem__(self, tap: Tap) -> Tensor | AttentionReading:
        """Return the tensor, or the attention, at ``tap``.

        Raises:
            UserError: The module did not run, the index does not fit its output, the value is not a
                tensor, or a later layer overwrote it in place.
        """
        outputs = self._outputs[tap.path]
        if not outputs:
            raise UserError(
                f'tap {str(tap)!r}: expected a module that runs, but the forward pass never ran '
                f'{tap.path!r}; tap another one'
            )
        value = outputs[0] if len(outputs) == 1 else tuple(outputs)
        for depth, i in enumerate(tap.index):
            if not isinstance(value, list | tuple) or not -len(value) <= i < len(value):
                at = tap.path + ''.join(f'[{j}]' for j in tap.index[:depth])
                raise UserError(
                    f'tap {str(tap)!r}: expected an entry [{i}], but {at} is {_describe(value)}'
                )
            value = value[i]
        if isinstance(value, AttentionReading):
            return value
        if not isinstance(value, Tensor):
            raise UserError(
                f'tap {str(tap)!r} gives {_describe(value)}: expected a tensor; add an index'
            )
        call = 0 if len(outputs) == 1 else tap.index[0]
        known = self._versions[tap.path][call].get(id(value))
        if known is None:
            raise UserError(
                f'tap {str(tap)!r}: a later layer changes the list that {tap.path!r} returns; tap '
                'that layer instead'
            )
        if value._version != known[1]:
            raise UserError(
                f'tap {str(tap)!r}: expected an output that stays, but a later layer (such as an '
                f'activation with inplace=True) overwrites {tap.path!r}; tap that layer instead'
            )
        return value


@contextmanager
def record(
    model: nn.Module,
    taps: Iterable[Tap],
    stop_after: Mapping[str, int] | None = None,
    until_read: bool = False,
) -> Iterator[Recording]:
    """Record the outputs of the tapped modules during the block.

    ``forward`` itself is wrapped during the block. Forward hooks would miss modules whose callers
    use ``.forward`` directly, as the heads of MMSegmentation and MMDetection do in their losses.
    Attention is read by a hook. The hook also keeps PyTorch's transformer layers from a fused path
    on which their attention never runs.

    Args:
        model: The network that runs in the block.
        taps: The taps to record.
        stop_after: Calls by module path. Once every module has run that often, the rest of the
            block is skipped.
        until_read: Whether an error in the block ends it silently once all taps can be read. The
            layers behind the last tap do not have to work then.
    """
    taps = list(taps)
    recording = Recording(tap.path for tap in taps)
    restore = []

    def add(path: str, value: Any) -> None:
        recording.add(path, value)
        if stop_after is not None:
            calls = recording.calls()
            if all(calls[p] >= n for p, n in stop_after.items()):
                raise _AllTapsRead

    def hook(path: str, module: nn.Module) -> None:
        def add_attention(module: nn.Module, args: tuple, kwargs: dict, _: Any) -> None:
            add(path, read_attention(module, args, kwargs))

        restore.append(module.register_forward_hook(add_attention, with_kwargs=True).remove)

    def wrap(path: str, module: nn.Module) -> None:
        # Through __dict__: nn.Module's own way to set an attribute takes twice the time.
        attributes = vars(module)
        inner, previous = module.forward, attributes.get('forward')

        def forward(*args: Any, **kwargs: Any) -> Any:
            output = inner(*args, **kwargs)
            add(path, output)
            return output

        def unwrap() -> None:
            if previous is None:
                del attributes['forward']
            else:
                attributes['forward'] = previous

        restore.append(unwrap)
        attributes['forward'] = forward

    try:
        for tap in {tap.path: tap for tap in taps if tap != INPUT_GRADIENT}.values():
            listen = hook if tap.reads_attention else wrap
            listen(tap.path, find_module(model, tap.path))
        yield recording
    except _AllTapsRead:
        pass
    except Exception:
        if not (until_read and recording.holds(taps)):
            raise
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
