"""The selective scan in plain PyTorch, in a few operations on many positions each.

The recurrence ``x_t = a_t * x_{t-1} + b_t`` is solved by halving. Combine each pair of positions,
solve the half-length recurrence recursively, then fill in the first position of each pair. The work
is linear in the length and done in place. Every value is a sum of products of decays
``0 <= a <= 1``. Nothing is divided, so nothing overflows at any length.

Shapes: see :mod:`mmkd.ops`; ``Q`` sequences are samples times groups, ``c`` channels each. "Rows"
are (L, Q, ..., c): channels lie innermost, so each position is one long run of memory. A few
channels or sequences are processed at a time, so that temporary tensors fit in the CPU cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# States held at one time. At least _CHANNELS channels, so that each run of memory is long enough.
_SLICE = 2**17
_CHANNELS = 16
# Up to this many positions, a loop is faster.
_FEW = 8
# Positions of B and C in the argument list; all channels of a sequence share them.
_SHARED = (3, 4)


class BlockedScan(torch.autograd.Function):
    """``apply(u, delta, A, B, C, D, delta_bias, delta_softplus, keep_states)`` gives ``y``.

    All tensors have one dtype; shapes are those of
    :func:`mmkd.ops.selective_scan.selective_scan`. For the backward pass it stores its inputs and,
    with ``keep_states`` and one state per channel, the states. The gradient of ``u`` is then
    written into their memory. Otherwise the backward pass computes the states again.
    """

    @staticmethod
    def forward(ctx, *inputs) -> Tensor:
        *tensors, ctx.softplus, keep_states = inputs
        has_gradient = keep_states and any(ctx.needs_input_grad)
        ctx.has_states = has_gradient and tensors[2].shape[1] == 1
        kept = tensors[0].new_empty(tensors[0].shape) if ctx.has_states else None
        ctx.save_for_backward(*tensors, kept)
        tensors = _by_sequence(*tensors)
        y = torch.empty_like(tensors[0])
        kept = kept.view_as(y) if ctx.has_states else None
        for part in _slices(tensors[2].shape, y.shape[2]):
            u, delta, A, B, C, D, delta_bias = _take(tensors, part)
            step = _rows(_steps(delta, delta_bias, ctx.softplus))
            state = (_rows(u) * step).unsqueeze(2).mul(_state_rows(B))
            _scan(_decay(step, A)[1:], state)
            if ctx.has_states:
                kept[part].view(state.shape).copy_(state)
            y_rows = _sum(state.mul_(_state_rows(C)), 2)
            torch.addcmul(_columns(y_rows), u, D.unsqueeze(2), out=y[part])
        return y.view(inputs[0].shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, y_grad: Tensor) -> tuple[Tensor | None, ...]:
        # Read saved tensors only once: activation checkpointing does not allow a second read.
        *inputs, kept = ctx.saved_tensors
        tensors = _by_sequence(*inputs)
        y_grad = y_grad.reshape(tensors[0].shape).contiguous()
        grads = [torch.empty_like(x) for x in tensors[1:]]
        # Bypass autograd's version check, which would forbid a second backward pass.
        u_grad = kept.data.view_as(y_grad) if ctx.has_states else torch.empty_like(y_grad)
        grads.insert(0, u_grad)
        has_states, ctx.has_states = ctx.has_states, False
        for i in _SHARED:
            grads[i].zero_()
        for part in _slices(tensors[2].shape, y_grad.shape[2]):
            of_part = _take(tensors, part), y_grad[part], _take(grads, part)
            _backward_of_slice(*of_part, ctx.softplus, has_states)
        # All samples share A, D and delta_bias.
        grads = [_sum(g.view(-1, *x.shape), 0) for g, x in zip(grads, inputs, strict=True)]
        return *grads, None, None


def _by_sequence(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor
) -> list[Tensor]:
    """Return u, delta: (Q, c, L); A: (Q, c, S); B, C: (Q, S, L); D, delta_bias: (Q, c)."""
    samples, sequences = len(B), math.prod(B.shape[:2])
    u, delta, B, C = (x.reshape(sequences, -1, x.shape[-1]).contiguous() for x in (u, delta, B, C))
    A, D, delta_bias = (
        x.repeat(samples, *[1] * (x.ndim - 1)).unflatten(0, (sequences, -1))
        for x in (A, D, delta_bias)
    )
    return [u, delta, A, B, C, D, delta_bias]


def _backward_of_slice(
    tensors: list[Tensor], y_grad: Tensor, grads: list[Tensor], softplus: bool, has_states: bool
) -> None:
    """Write ``grads``. With ``has_states`` the first one holds the rows of the states."""
    u, delta, A, B, C, D, delta_bias = tensors
    u_grad, delta_grad, A_grad, B_grad, C_grad, D_grad, delta_bias_grad = grads
    B, C = _state_rows(B), _state_rows(C)
    # The memory of this gradient holds rows until the gradient itself is written.
    step = delta_grad.view(len(B), *D.shape).copy_(_rows(_steps(delta, delta_bias, softplus)))
    x, y_rows = _rows(u), _rows(y_grad)
    D_grad.copy_((x * y_rows).sum(0))
    if has_states:
        state = u_grad.view(step.shape).unsqueeze(2)
    else:
        state = (step * x).unsqueeze(2).mul(B)
        _scan(_decay(step, A)[1:], state)

    # The gradient of the state, g_t = C_t dy_t + a_{t+1} g_{t+1}, is the same scan in reverse.
    state_grad = state * y_rows.unsqueeze(2)
    C_grad.add_(state_grad.sum(3).permute(1, 2, 0))
    torch.mul(y_rows.unsqueeze(2), C, out=state_grad)
    del y_rows
    _scan(_decay(step, A)[1:], state_grad, reverse=True)

    # Gradient of the decays' exponents, step * A.
    exponent_grad = _decay(step, A)
    exponent_grad[1:].mul_(state[:-1])
    exponent_grad[0].zero_()
    exponent_grad.mul_(state_grad)
    A_grad.copy_(torch.mul(exponent_grad, step.unsqueeze(2), out=state).sum(0).transpose(1, 2))
    torch.mul(state_grad, step.unsqueeze(2), out=state).mul_(x.unsqueeze(2))
    B_grad.add_(state.sum(3).permute(1, 2, 0))
    del state
    step_grad = _sum(exponent_grad.mul_(A.transpose(1, 2)), 2)
    product_grad = _sum(state_grad.mul_(B), 2)
    step_grad.addcmul_(product_grad, x)
    del x
    torch.addcmul(_columns(product_grad.mul_(step)), y_grad, D.unsqueeze(2), out=u_grad)
    delta_grad.copy_(_columns(step_grad))
    if softplus:
        delta_grad.mul_((delta + delta_bias.unsqueeze(2)).sigmoid_())
    delta_bias_grad.copy_(delta_grad.sum(2))


def _slices(shape: torch.Size, length: int) -> Iterator[tuple[slice, slice]]:
    """Yield which sequences, or channels of one sequence, to process together; A is (Q, c, S)."""
    sequences, channels, states = shape
    width = max(_CHANNELS, _SLICE // (states * length))
    several = max(1, width // channels)
    for sequence in range(0, sequences, several):
        for channel in range(0, channels, width):
            yield slice(sequence, sequence + several), slice(channel, channel + width)


def _take(tensors: Sequence[Tensor], part: tuple[slice, slice]) -> list[Tensor]:
    return [x[part[0]] if i in _SHARED else x[part] for i, x in enumerate(tensors)]


def _rows(x: Tensor) -> Tensor:
    """Reorder (Q, c, L) to (L, Q, c)."""
    return _transposed(x.flatten(0, 1)).view(x.shape[2], *x.shape[:2])


def _columns(rows: Tensor) -> Tensor:
    """Invert :func:`_rows`."""
    return _transposed(rows.flatten(1)).view(*rows.shape[1:], len(rows))


def _transposed(x: Tensor) -> Tensor:
    """Return a copy of (P, R) as (R, P), four times as fast as ``x.T.contiguous()`` on a CPU.

    A channel shuffle of P groups of R channels is the same operation, and is vectorised.
    """
    channels = x.reshape(1, 1, 1, -1).permute(0, 3, 1, 2)
    return functional.channel_shuffle(channels, len(x)).view(x.shape[::-1])


def _state_rows(x: Tensor) -> Tensor:
    """Reorder B or C, (Q, S, L), to (L, Q, S, 1)."""
    return x.permute(2, 0, 1).unsqueeze(3)


def _steps(delta: Tensor, bias: Tensor, softplus: bool) -> Tensor:
    step = delta + bias.unsqueeze(2)
    return functional.softplus(step) if softplus else step


def _decay(step: Tensor, A: Tensor) -> Tensor:
    """Return the decays (L, Q, S, c) from steps (L, Q, c) and rates (Q, c, S)."""
    return torch.mul(step.unsqueeze(2), A.transpose(1, 2)).exp_()


def _sum(x: Tensor, dim: int) -> Tensor:
    """Sum over ``dim``, without a copy if its size is 1."""
    return x.squeeze(dim) if x.shape[dim] == 1 else x.sum(dim)


def _scan(decay: Tensor, state: Tensor, reverse: bool = False) -> None:
    """Turn inputs (L, ...) into states, in place: ``x_t += a_{t-1} * x_{t-1}``.

    In reverse it is ``x_t += a_t * x_{t+1}``. ``decay`` (L - 1, ...) lies between neighbours and is
    overwritten.
    """
    if len(state) <= _FEW:
        neighbours = list(zip(state[:-1].unbind(), decay.unbind(), state[1:].unbind(), strict=True))
        for before, a, after in reversed(neighbours) if reverse else neighbours:
            before.addcmul_(a, after) if reverse else after.addcmul_(a, before)
        return
    even, odd = state[::2], state[1::2]
    within, between = decay[::2], decay[1::2]  # within pairs, and between neighbouring pairs
    if reverse:
        even[: len(odd)].addcmul_(within, odd)
        _scan(within[: len(between)].mul_(between), even, reverse)
        odd[: len(between)].addcmul_(between, even[1:])
    else:
        odd.addcmul_(within, even[: len(odd)])
        _scan(within[1:].mul_(between[: len(odd) - 1]), odd)
        even[1:].addcmul_(between, odd[: len(between)])
