"""Load weights into a network, all of them or none."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.errors import UserError


def load_weights(
    network: nn.Module,
    checkpoint: Any,
    source: str,
    *,
    exact: bool = False,
    finite: bool = True,
) -> None:
    """Load a whole checkpoint into ``network``.

    Args:
        network: Receives the weights.
        checkpoint: Content of a checkpoint file: a state dict, or a dict that holds it as
            ``state_dict`` or, as many training scripts write it, as ``model``.
        source: Where it came from, for messages.
        exact: Whether to reject weights of heads that the network does not have, such as auxiliary
            heads.
        finite: Whether to reject parameters and averages that are NaN or infinite. A caller that
            does not use the whole network looks at what it yields instead, see
            :func:`check_finite`.

    Raises:
        UserError: Weights are missing, have another shape than the network's, are not finite
            numbers, or do not belong to a layer of the network. Otherwise a deeper network's
            weights would fit in part.
    """
    state = extract_state_dict(checkpoint, source)
    own = network.state_dict()
    if not any(key.startswith('module.') for key in own):  # what a parallel wrapper puts before
        state = {key.removeprefix('module.'): value for key, value in state.items()}
    missing = [k for k in own if k not in state and not k.endswith('num_batches_tracked')]
    if missing:
        others = next((f'; it holds {k} instead' for k in state if k not in own), '')
        raise UserError(
            f'{source} does not fit its config: {len(missing)} of {len(own)} weights are missing, '
            f'such as {missing[0]}{others}'
        )
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            raise UserError(
                f'{source} does not fit its config: {key} is {tuple(state[key].shape)} in the '
                f'file but {tuple(value.shape)} in the network; check num_classes and sizes'
            )
    parameters = [(key, state[key]) for key, _ in network.named_parameters() if key in state]
    for key, value in parameters:
        if not _is_floating_point(value):
            raise _weight_error(source, key)
    if finite:
        # Averages of BatchNorm too. A constant, such as a mask, may be infinite in any network.
        buffers = [
            (key, state[key])
            for key, value in network.named_buffers()
            if key in own and key in state and torch.isfinite(value).all()
        ]
        check_finite([*parameters, *(b for b in buffers if _is_floating_point(b[1]))], source)
    parts = {name for name, _ in network.named_children()}
    unused = [k for k in state if k not in own and (exact or k.partition('.')[0] in parts)]
    unused = [k for k in unused if not k.endswith('num_batches_tracked')]
    if unused:
        raise UserError(
            f'{source} does not fit its config: {len(unused)} weights of the file are in no layer '
            f'of the network, such as {unused[0]}; check its depth'
        )
    network.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)


def check_finite(weights: Iterable[tuple[str, Tensor]], source: str) -> None:
    """Check that weights do not hold NaN or infinity.

    Args:
        weights: Names and values.
        source: Where they came from, for messages.

    Raises:
        UserError: One of them does; the message names the first.
    """
    for key, value in weights:
        if not torch.isfinite(value).all():
            raise _weight_error(source, key)


def _is_floating_point(weight: Tensor) -> bool:
    plain = weight.layout == torch.strided and not weight.is_meta and not weight.is_quantized
    return plain and weight.is_floating_point()


def _weight_error(source: str, key: str) -> UserError:
    return UserError(
        f'{source}: {key}: expected finite floating-point numbers; was its training stopped by '
        'NaN, or the file quantised?'
    )


def extract_state_dict(checkpoint: Any, source: str) -> dict[str, Tensor]:
    """Return the weights in a checkpoint; arguments are those of :func:`load_weights`.

    Raises:
        UserError: It does not hold weights.
    """
    state = checkpoint
    if isinstance(checkpoint, dict):
        inside = (checkpoint.get(key) for key in ('state_dict', 'model'))
        state = next((part for part in inside if isinstance(part, dict)), checkpoint)
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise UserError(f'{source}: expected a file with a state_dict')
    return state
