"""The selective scan in plain PyTorch, in steps of about ``sqrt(L)`` positions instead of one.

The recurrence ``x_t = a_t * x_{t-1} + b_t`` is cut into blocks of about ``sqrt(L)`` positions.
All blocks advance together from a zero state, position by position; a loop over the blocks then
carries their last states on; and all blocks advance once more from their true first states.
Every value is a sum of products of decays ``0 <= a <= 1``: nothing is divided, so nothing
overflows however far the decays reach.

Shapes: ``Q`` sequences (samples times groups) of ``c`` channels, ``N`` states of a channel, ``L``
positions, cut into ``S`` blocks of ``P``. "Rows" are (S * P, Q, ..., c): channels lie innermost,
so that one position of every block is a few long runs of memory. A few sequences are taken at a
time, or some channels of one, which keeps what is computed on the way small and in the
processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# States held at one time.
_SLICE = 2**17


class BlockedScan(torch.autograd.Function):
    """``apply(u, delta, A, B, C, D, delta_bias, delta_softplus)`` gives ``y``, all of one type.

    u, delta: (Q, c, L); A: (Q, c, N); B, C: (Q, N, L); D, delta_bias: (Q, c). It keeps these and
    one state a block; the backward pass computes the states anew.
    """

    @staticmethod
    def forward(ctx, *inputs) -> Tensor:
        *tensors, ctx.delta_softplus = inputs
        u, _, A = tensors[:3]
        y, length = torch.empty_like(u), u.shape[2]
        starts = A.new_empty(_blocks(length)[0], *A.transpose(1, 2).shape)
        for part in _slices(A.shape, length):
            u, delta, A, B, C, D, delta_bias = _take(tensors, part)
            step, x = _steps(delta, delta_bias, ctx.delta_softplus), _rows(u)
            decay, state = _decay(step, A), (step * x).unsqueeze(2) * _state_rows(B)
            before = _advance(_positions(decay), _positions(state), _block_decay(step, A))
            starts[:, part[0], :, part[1]] = before
            rows = _sum_of_states(state.mul_(_state_rows(C))).addcmul_(x, D)
            _write(y[part], rows)
        ctx.save_for_backward(*tensors, starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, y_grad: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, starts = ctx.saved_tensors
        y_grad = y_grad.contiguous()
        grads = [torch.zeros_like(x) for x in tensors]
        for part in _slices(tensors[2].shape, y_grad.shape[2]):
            _backward_of_slice(
                _take(tensors, part),
                y_grad[part],
                starts[:, part[0], :, part[1]],
                ctx.delta_softplus,
                _take(grads, part),
            )
        return *grads, None


def _backward_of_slice(
    tensors: list[Tensor],
    y_grad: Tensor,
    starts: Tensor,
    delta_softplus: bool,
    grads: list[Tensor],
) -> None:
    u, delta, A, B, C, D, delta_bias = tensors
    u_grad, delta_grad, A_grad, B_grad, C_grad, D_grad, delta_bias_grad = grads
    length = u.shape[2]
    step, x, y_grad = _steps(delta, delta_bias, delta_softplus), _rows(u), _rows(y_grad)
    decay, state = _decay(step, A), (step * x).unsqueeze(2) * _state_rows(B)
    decays = _positions(decay)
    _replay(decays, _positions(state), starts)
    state_grad = state * y_grad.unsqueeze(2)
    C_grad.add_(state_grad.sum(3)[:length].permute(1, 2, 0))

    # The state's gradient g_t = C_t dy_t + a_{t+1} g_{t+1} is the same recurrence from the end,
    # with every decay taken one position ahead.
    torch.mul(y_grad.unsqueeze(2), _state_rows(C), out=state_grad)
    _advance(
        [_next_block(decays[0]), *decays[:0:-1]],
        _positions(state_grad)[::-1],
        _block_decay(step, A, ahead=True),
        reverse=True,
    )

    # Over the decays: the gradient of each decay's exponent, step * A.
    decay[1:].mul_(state[:-1])
    decay[0].zero_()
    exponent_grad = decay.mul_(state_grad)
    A_grad.copy_(torch.mul(exponent_grad, step.unsqueeze(2), out=state).sum(0).transpose(1, 2))
    torch.mul(state_grad, step.unsqueeze(2), out=state).mul_(x.unsqueeze(2))
    B_grad.add_(state.sum(3)[:length].permute(1, 2, 0))
    step_grad = _sum_of_states(exponent_grad.mul_(A.transpose(1, 2)))
    product_grad = _sum_of_states(state_grad.mul_(_state_rows(B)))
    step_grad.addcmul_(product_grad, x)
    D_grad.copy_(x.mul_(y_grad).sum(0))
    _write(u_grad, product_grad.mul_(step).addcmul_(y_grad, D))
    if delta_softplus:  # the slope of the softplus, a sigmoid, is 1 - exp(-softplus)
        step_grad.mul_(step.neg_().expm1_().neg_())
    delta_bias_grad.copy_(step_grad.sum(0))
    _write(delta_grad, step_grad)


def _slices(shape: torch.Size, length: int) -> Iterator[tuple[slice, slice]]:
    """Sequences and channels to take at a time, of A's shape (Q, c, N)."""
    sequences, channels, states = shape
    size = _SLICE // (channels * states * length)
    if size:
        for start in range(0, sequences, size):
            yield slice(start, start + size), slice(None)
        return
    width = max(1, _SLICE // (states * length))
    for sequence in range(sequences):
        for start in range(0, channels, width):
            yield slice(sequence, sequence + 1), slice(start, start + width)


def _take(tensors: Sequence[Tensor], part: tuple[slice, slice]) -> list[Tensor]:
    """The part of each; B and C, the fourth and fifth, belong to all channels of a sequence."""
    return [x[part[0]] if i in (3, 4) else x[part] for i, x in enumerate(tensors)]


def _blocks(length: int) -> tuple[int, int]:
    """S, P."""
    size = math.isqrt(length - 1) + 1
    return -(-length // size), size


def _rows(x: Tensor) -> Tensor:
    """(Q, c, L) to (S * P, Q, c), zero after L."""
    length = x.shape[2]
    rows = x.new_empty(math.prod(_blocks(length)), *x.shape[:2])
    # Of two dimensions, PyTorch has a fast transposition.
    rows.flatten(1)[:length].copy_(x.flatten(0, 1).T)
    rows[length:].zero_()
    return rows


def _write(x: Tensor, rows: Tensor) -> None:
    """The inverse of :func:`_rows`, into ``x``."""
    x.view(-1, x.shape[2]).copy_(rows.flatten(1)[: x.shape[2]].T)


def _state_rows(x: Tensor) -> Tensor:
    """B or C, (Q, N, L), to (S * P, Q, N, 1)."""
    length = x.shape[2]
    x = functional.pad(x, (0, math.prod(_blocks(length)) - length))
    return x.permute(2, 0, 1).unsqueeze(3)


def _steps(delta: Tensor, bias: Tensor, softplus: bool) -> Tensor:
    step = _rows(delta).add_(bias)
    step = functional.softplus(step) if softplus else step
    step[delta.shape[2] :].zero_()  # neither decay nor input
    return step


def _decay(step: Tensor, A: Tensor) -> Tensor:
    """(..., Q, c) and (Q, c, N) to (..., Q, N, c)."""
    return torch.mul(step.unsqueeze(-2), A.transpose(1, 2)).exp_()


def _positions(rows: Tensor) -> tuple[Tensor, ...]:
    """P views (S, Q, ...), one a position within the blocks."""
    return rows.unflatten(0, _blocks(len(rows))).unbind(1)


def _block_decay(step: Tensor, A: Tensor, ahead: bool = False) -> Tensor:
    """The product of a block's decays, or of those one position ahead: (S, Q, N, c)."""
    step = step.unflatten(0, _blocks(len(step)))
    first = step[:, 0]
    return _decay(step[:, 1:].sum(1).add_(_next_block(first) if ahead else first), A)


def _sum_of_states(rows: Tensor) -> Tensor:
    return rows.squeeze(2) if rows.shape[2] == 1 else rows.sum(2)


def _next_block(x: Tensor) -> Tensor:
    """What the following block has, (S, ...); zero in the last one."""
    return torch.cat([x[1:], torch.zeros_like(x[:1])])


def _advance(
    decays: Sequence[Tensor], drives: Sequence[Tensor], totals: Tensor, reverse: bool = False
) -> Tensor:
    """Turn drives into states, in place; returns the state before each block, (S, ...)."""
    last = drives[0].clone()
    for decay, drive in zip(decays[1:], drives[1:], strict=True):
        torch.addcmul(drive, decay, last, out=last)
    # From here on, what each block hands to the one after it in the order of the scan.
    order = range(len(last))[::-1] if reverse else range(len(last))
    starts = torch.zeros_like(last)
    for before, block in zip(order[:-1], order[1:], strict=True):
        torch.addcmul(last[before], totals[before], starts[before], out=starts[block])
    _replay(decays, drives, starts)
    return starts


def _replay(decays: Sequence[Tensor], drives: Sequence[Tensor], starts: Tensor) -> None:
    """Turn drives into states, in place, from known first states."""
    state = starts
    for decay, drive in zip(decays, drives, strict=True):
        state = drive.addcmul_(decay, state)
