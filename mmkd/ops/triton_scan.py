"""The selective scan as two Triton kernels, for any CUDA GPU, without compilation at install.

A program handles a few channels of one group and processes the positions in chunks. Within a chunk
the recurrence ``x_t = a_t x_{t-1} + b_t`` is an associative scan over pairs ``(a, b)``; the state
is carried from chunk to chunk. The state before every chunk is stored for the backward pass, which
computes the others again. Each program writes its own sums over the channels of a group, and they
are added up outside. The result therefore does not depend on the order in which programs finish.

Shapes: see :mod:`mmkd.ops`; tiles are (channels, states, positions).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

# Positions per chunk, and the product channels * states * positions of a tile.
_CHUNK = 256
_TILE = 2048


class TritonScan(torch.autograd.Function):
    """``apply(u, delta, A, B, C, D, delta_bias, delta_softplus)`` gives ``y``, all of one type."""

    @staticmethod
    def forward(ctx, *inputs) -> Tensor:
        *tensors, ctx.delta_softplus = inputs
        tensors = [x.contiguous() for x in tensors]
        u, B = tensors[0], tensors[3]
        grid, sizes, tile = _launch(u, B)
        y = torch.empty_like(u)
        starts = u.new_empty(*u.shape[:2], B.shape[2], triton.cdiv(u.shape[2], tile['CHUNK']))
        with torch.cuda.device_of(u):  # Triton launches on the current GPU
            _forward_kernel[grid](*tensors, y, starts, *sizes, SOFTPLUS=ctx.delta_softplus, **tile)
        ctx.save_for_backward(*tensors, starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, y_grad: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, starts = ctx.saved_tensors
        u, _, A, B = tensors[:4]
        grid, sizes, tile = _launch(u, B)
        samples, groups, states, length = B.shape
        u_grad, delta_grad = torch.empty_like(u), torch.empty_like(u)
        A_grad = A.new_empty(samples, *A.shape)
        B_grad, C_grad = A.new_empty(2, samples, groups, grid[0] // groups, states, length)
        D_grad, delta_bias_grad = A.new_empty(2, *u.shape[:2])
        with torch.cuda.device_of(u):
            _backward_kernel[grid](
                *tensors,
                y_grad.contiguous(),
                starts,
                u_grad,
                delta_grad,
                A_grad,
                B_grad,
                C_grad,
                D_grad,
                delta_bias_grad,
                *sizes,
                SOFTPLUS=ctx.delta_softplus,
                **tile,
            )
        of_samples = (A_grad.sum(0), B_grad.sum(2), C_grad.sum(2), D_grad.sum(0))
        return u_grad, delta_grad, *of_samples, delta_bias_grad.sum(0), None


def _launch(u: Tensor, B: Tensor) -> tuple[tuple[int, int], tuple[int, ...], dict[str, int]]:
    """Return the grid of programs, the sizes and the tile of both kernels."""
    samples, groups, states, length = B.shape
    channels = u.shape[1] // groups
    padded = triton.next_power_of_2(states)
    chunk = min(_CHUNK, triton.next_power_of_2(length))
    width = min(triton.next_power_of_2(channels), max(1, _TILE // (padded * chunk)))
    grid = (groups * triton.cdiv(channels, width), samples)
    return grid, (groups, channels, states, length), dict(WIDTH=width, STATES=padded, CHUNK=chunk)


@triton.jit
def _combine(a_first, b_first, a_second, b_second):
    return a_first * a_second, a_second * b_first + b_second


@triton.jit
def _softplus(x):
    y = tl.exp(-tl.abs(x))
    # log(1 + y), exact for small y (Kahan).
    sum_ = 1 + y
    rest = sum_ - 1
    log = tl.where(rest == 0, y, tl.log(sum_) * (y / tl.where(rest == 0, 1, rest)))
    return tl.maximum(x, 0) + log


@triton.jit
def _steps(delta, rows, inside, bias, SOFTPLUS: tl.constexpr):
    """Return step sizes (channels, positions), 0 outside, and the input of the softplus."""
    raw = tl.load(delta + rows, mask=inside, other=0) + bias[:, None]
    step = _softplus(raw) if SOFTPLUS else raw
    return tl.where(inside, step, 0), raw


@triton.jit
def _forward_kernel(
    u,
    delta,
    A,
    B,
    C,
    D,
    delta_bias,
    y,
    starts,
    groups,
    channels,
    states,
    length,
    SOFTPLUS: tl.constexpr,
    WIDTH: tl.constexpr,
    STATES: tl.constexpr,
    CHUNK: tl.constexpr,
):
    sample = tl.program_id(1).to(tl.int64)
    blocks = tl.cdiv(channels, WIDTH)
    group = tl.program_id(0) // blocks
    within = tl.program_id(0) % blocks * WIDTH + tl.arange(0, WIDTH)
    n = tl.arange(0, STATES)
    position = tl.arange(0, CHUNK)
    is_channel, is_state = within < channels, n < states
    is_pair = is_channel[:, None] & is_state[None, :]
    channel = group * channels + within
    row = sample * groups * channels + channel
    shared = (sample * groups + group) * states + n
    chunks = tl.cdiv(length, CHUNK)

    rate = tl.load(A + channel[:, None] * states + n[None, :], mask=is_pair, other=0)
    skip = tl.load(D + channel, mask=is_channel, other=0)
    bias = tl.load(delta_bias + channel, mask=is_channel, other=0)
    state = tl.zeros_like(rate)
    for i in range(chunks):
        t = i * CHUNK + position
        inside = is_channel[:, None] & (t < length)[None, :]
        rows = row[:, None] * length + t[None, :]
        seen = is_state[:, None] & (t < length)[None, :]
        columns = shared[:, None] * length + t[None, :]
        step, _ = _steps(delta, rows, inside, bias, SOFTPLUS)
        x = tl.load(u + rows, mask=inside, other=0)
        b = tl.load(B + columns, mask=seen, other=0)
        c = tl.load(C + columns, mask=seen, other=0)

        places = (row[:, None] * states + n[None, :]) * chunks + i
        tl.store(starts + places, state, mask=is_pair)
        decay = tl.exp(step[:, None, :] * rate[:, :, None])
        drive = (step * x)[:, None, :] * b[None, :, :]
        reach, local = tl.associative_scan((decay, drive), 2, _combine)
        visited = local + reach * state[:, :, None]
        tl.store(y + rows, tl.sum(visited * c[None, :, :], 1) + skip[:, None] * x, mask=inside)
        is_last = (position == CHUNK - 1)[None, None, :]
        state = tl.sum(tl.where(is_last, visited, 0), 2)


@triton.jit
def _backward_kernel(
    u,
    delta,
    A,
    B,
    C,
    D,
    delta_bias,
    y_grad,
    starts,
    u_grad,
    delta_grad,
    A_grad,
    B_grad,
    C_grad,
    D_grad,
    delta_bias_grad,
    groups,
    channels,
    states,
    length,
    SOFTPLUS: tl.constexpr,
    WIDTH: tl.constexpr,
    STATES: tl.constexpr,
    CHUNK: tl.constexpr,
):
    sample = tl.program_id(1).to(tl.int64)
    blocks = tl.cdiv(channels, WIDTH)
    block = tl.program_id(0) % blocks
    group = tl.program_id(0) // blocks
    within = block * WIDTH + tl.arange(0, WIDTH)
    n = tl.arange(0, STATES)
    position = tl.arange(0, CHUNK)
    is_channel, is_state = within < channels, n < states
    is_pair = is_channel[:, None] & is_state[None, :]
    channel = group * channels + within
    row = sample * groups * channels + channel
    shared = (sample * groups + group) * states + n
    partial = ((sample * groups + group) * blocks + block) * states + n
    chunks = tl.cdiv(length, CHUNK)

    rate = tl.load(A + channel[:, None] * states + n[None, :], mask=is_pair, other=0)
    skip = tl.load(D + channel, mask=is_channel, other=0)
    bias = tl.load(delta_bias + channel, mask=is_channel, other=0)
    rate_grad = tl.zeros_like(rate)
    skip_grad = tl.zeros_like(skip)
    bias_grad = tl.zeros_like(bias)
    carried = tl.zeros_like(rate)  # the gradient of the state from the following chunk
    for back in range(chunks):
        i = chunks - 1 - back
        t = i * CHUNK + position
        inside = is_channel[:, None] & (t < length)[None, :]
        rows = row[:, None] * length + t[None, :]
        seen = is_state[:, None] & (t < length)[None, :]
        columns = shared[:, None] * length + t[None, :]
        step, raw = _steps(delta, rows, inside, bias, SOFTPLUS)
        x = tl.load(u + rows, mask=inside, other=0)
        g = tl.load(y_grad + rows, mask=inside, other=0)
        b = tl.load(B + columns, mask=seen, other=0)
        c = tl.load(C + columns, mask=seen, other=0)

        # The state before each position: the same scan, shifted by one position.
        later = inside & (position > 0)[None, :]
        step_before, _ = _steps(delta, rows - 1, later, bias, SOFTPLUS)
        x_before = tl.load(u + rows - 1, mask=later, other=0)
        b_before = tl.load(B + columns - 1, mask=seen & (position > 0)[None, :], other=0)
        places = (row[:, None] * states + n[None, :]) * chunks + i
        start = tl.load(starts + places, mask=is_pair, other=0)
        reach, local = tl.associative_scan(
            (
                tl.exp(step_before[:, None, :] * rate[:, :, None]),
                (step_before * x_before)[:, None, :] * b_before[None, :, :],
            ),
            2,
            _combine,
        )
        before = local + reach * start[:, :, None]
        decay = tl.exp(step[:, None, :] * rate[:, :, None])
        state = decay * before + (step * x)[:, None, :] * b[None, :, :]

        # The gradient of the state, in reverse: g_t = C_t dy_t + a_{t+1} g_{t+1}.
        ahead = inside & (position < CHUNK - 1)[None, :] & (t + 1 < length)[None, :]
        step_ahead, _ = _steps(delta, rows + 1, ahead, bias, SOFTPLUS)
        reach, local = tl.associative_scan(
            (
                tl.exp(step_ahead[:, None, :] * rate[:, :, None]),
                g[:, None, :] * c[None, :, :],
            ),
            2,
            _combine,
            reverse=True,
        )
        state_grad = local + reach * carried[:, :, None]
        is_first = (position == 0)[None, None, :]
        carried = tl.sum(tl.where(is_first, decay * state_grad, 0), 2)

        exponent_grad = decay * before * state_grad
        rate_grad += tl.sum(exponent_grad * step[:, None, :], 2)
        product_grad = tl.sum(state_grad * b[None, :, :], 1)
        step_grad = tl.sum(exponent_grad * rate[:, :, None], 1) + product_grad * x
        tl.store(u_grad + rows, product_grad * step + g * skip[:, None], mask=inside)
        skip_grad += tl.sum(g * x, 1)
        if SOFTPLUS:
            step_grad = step_grad / (1 + tl.exp(-raw))
        step_grad = tl.where(inside, step_grad, 0)
        tl.store(delta_grad + rows, step_grad, mask=inside)
        bias_grad += tl.sum(step_grad, 1)
        columns = partial[:, None] * length + t[None, :]
        tl.store(B_grad + columns, tl.sum(state_grad * (step * x)[:, None, :], 0), mask=seen)
        tl.store(C_grad + columns, tl.sum(state * g[:, None, :], 0), mask=seen)

    tl.store(A_grad + row[:, None] * states + n[None, :], rate_grad, mask=is_pair)
    tl.store(D_grad + row, skip_grad, mask=is_channel)
    tl.store(delta_bias_grad + row, bias_grad, mask=is_channel)
