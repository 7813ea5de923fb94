"""The selective scan in plain PyTorch, in about ``3 * sqrt(L)`` steps instead of ``L``.

The recurrence ``x_t = a_t * x_{t-1} + b_t`` is cut into blocks of about ``sqrt(L)`` positions.
All blocks advance together from a zero state, position by position; a loop over the blocks then
carries their last states on; and all blocks advance once more from their true first states.
Every value is a sum of products of decays ``0 <= a <= 1``: nothing is divided, so nothing
overflows however far the decays reach.

Shapes: ``M`` samples, ``G`` groups, ``c`` channels of a group, ``N`` states of a channel, ``L``
positions, cut into ``S`` blocks of ``P``. Channels lie innermost in memory: "rows" are
(M, S * P, G, ..., c), so that one position of every block is a few long runs of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class BlockedScan(torch.autograd.Function):
    """``apply(u, delta, A, B, C, D, delta_bias, delta_softplus)`` gives ``y``, all of one type.

    It keeps its inputs and one state a block; the backward pass computes the states anew.
    """

    @staticmethod
    def forward(
        ctx,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        delta_bias: Tensor,
        delta_softplus: bool,
    ) -> Tensor:
        blocks = _Blocks(u, B)
        step, x = blocks.step(delta, delta_bias, delta_softplus), blocks.rows(u)
        decay, state = blocks.decay(step, A), blocks.outer(step * x, blocks.state_rows(B))
        starts = _advance(
            blocks.positions(decay), blocks.positions(state), blocks.block_decay(step, A)
        )
        del step, decay
        ctx.save_for_backward(u, delta, A, B, C, D, delta_bias, starts)
        ctx.delta_softplus = delta_softplus
        y = _sum_of_states(state.mul_(blocks.state_rows(C)))
        return blocks.channels(y.addcmul_(x, D.view(blocks.groups, -1)))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, A, B, C, D, delta_bias, starts = ctx.saved_tensors
        blocks = _Blocks(u, B)
        step = blocks.step(delta, delta_bias, ctx.delta_softplus)
        decay = blocks.decay(step, A)
        state = blocks.outer(blocks.rows(u).mul_(step), blocks.state_rows(B))
        _replay(blocks.positions(decay), blocks.positions(state), starts)

        # The state's gradient g_t = C_t dy_t + a_{t+1} g_{t+1} is the same recurrence from the
        # end, with every decay taken one position ahead.
        y_grad = blocks.rows(grad)
        grad_C = blocks.sum_of_channels(state, y_grad)
        state_grad = blocks.outer(y_grad, blocks.state_rows(C))
        first, *others = blocks.positions(decay)
        _advance(
            [_next_block(first), *others[::-1]],
            blocks.positions(state_grad)[::-1],
            blocks.block_decay(step, A, ahead=True),
            reverse=True,
        )
        del y_grad, first, others

        # Over the decays: the gradient of each decay's exponent, step * A.
        decay[:, 1:].mul_(state[:, :-1])
        decay[:, 0].zero_()
        exponent_grad = decay.mul_(state_grad)
        del state, decay
        step_grad = _sum_of_states(exponent_grad * blocks.state_of_channels(A))
        grad_A = torch.stack(
            [(exponent_grad[:, :, :, n] * step).sum((0, 1)) for n in range(A.shape[1])], -1
        )
        del exponent_grad
        x = blocks.rows(u)
        grad_B = blocks.sum_of_channels(state_grad, step * x)
        product_grad = _sum_of_states(state_grad.mul_(blocks.state_rows(B)))
        del state_grad
        step_grad.addcmul_(product_grad, x)
        if ctx.delta_softplus:  # the sigmoid, which is the softplus's slope, is 1 - exp(-softplus)
            step_grad.mul_(torch.expm1(step.neg()).neg_())
        x_grad = product_grad.mul_(step)
        y_grad = blocks.rows(grad)
        grad_D = x.mul_(y_grad).sum((0, 1)).flatten()
        x_grad.addcmul_(y_grad, D.view(blocks.groups, -1))
        grad_delta = blocks.channels(step_grad)
        return (
            blocks.channels(x_grad),
            grad_delta,
            grad_A.view_as(A),
            grad_B,
            grad_C,
            grad_D,
            grad_delta.sum((0, 2)),
            None,
        )


class _Blocks:
    """How a scan's tensors are laid out in rows, and back."""

    def __init__(self, u: Tensor, B: Tensor) -> None:
        self.samples, _, self.length = u.shape
        self.groups = B.shape[1]
        self.size = math.isqrt(self.length - 1) + 1
        self.count = -(-self.length // self.size)

    def rows(self, x: Tensor) -> Tensor:
        """(M, G * c, L) to (M, S * P, G, c), zero after L."""
        rows = x.new_empty(self.samples, self.count * self.size, x.shape[1])
        rows[:, : self.length].copy_(x.transpose(1, 2))
        rows[:, self.length :].zero_()
        return rows.view(*rows.shape[:2], self.groups, -1)

    def channels(self, rows: Tensor) -> Tensor:
        """The inverse of :meth:`rows`, as a view."""
        return rows.flatten(2)[:, : self.length].transpose(1, 2)

    def state_rows(self, x: Tensor) -> Tensor:
        """B or C, (M, G, N, L), to (M, S * P, G, N, 1)."""
        x = x.permute(0, 3, 1, 2).unsqueeze(-1)
        return F.pad(x, [0] * 7 + [self.count * self.size - self.length])

    def state_of_channels(self, A: Tensor) -> Tensor:
        """(G * c, N) to (G, N, c)."""
        return A.view(self.groups, -1, A.shape[1]).transpose(1, 2)

    def step(self, delta: Tensor, bias: Tensor, softplus: bool) -> Tensor:
        step = self.rows(delta).add_(bias.view(self.groups, -1))
        step = F.softplus(step) if softplus else step
        step[:, self.length :].zero_()  # no decay, no input
        return step

    def decay(self, step: Tensor, A: Tensor) -> Tensor:
        return torch.mul(step.unsqueeze(3), self.state_of_channels(A)).exp_()

    def block_decay(self, step: Tensor, A: Tensor, ahead: bool = False) -> Tensor:
        """The product of a block's decays, (M, S, G, N, c)."""
        step = step.unflatten(1, (self.count, self.size))
        total = step[:, :, 1:].sum(2)
        return self.decay(total + (_next_block(step[:, :, 0]) if ahead else step[:, :, 0]), A)

    def positions(self, rows: Tensor) -> tuple[Tensor, ...]:
        """P views (M, S, G, N, c), one a position within the blocks."""
        return rows.unflatten(1, (self.count, self.size)).unbind(2)

    @staticmethod
    def outer(rows: Tensor, states: Tensor) -> Tensor:
        return rows.unsqueeze(3) * states

    def sum_of_channels(self, states: Tensor, rows: Tensor) -> Tensor:
        """The gradient of B or C: (M, S * P, G, N, c) and (M, S * P, G, c) to (M, G, N, L)."""
        total = (states * rows.unsqueeze(3)).sum(-1)
        return total[:, : self.length].permute(0, 2, 3, 1)


def _sum_of_states(rows: Tensor) -> Tensor:
    return rows.squeeze(3) if rows.shape[3] == 1 else rows.sum(3)


def _next_block(x: Tensor) -> Tensor:
    """What the following block has, (M, S, ...); zero in the last one."""
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)


def _advance(
    decays: Sequence[Tensor], drives: Sequence[Tensor], totals: Tensor, reverse: bool = False
) -> Tensor:
    """Turn drives into states, in place; returns the state before each block, (M, S, ...)."""
    last = drives[0].clone()
    for decay, drive in zip(decays[1:], drives[1:], strict=True):
        torch.addcmul(drive, decay, last, out=last)
    order = range(last.shape[1])
    order = order[::-1] if reverse else order
    starts = torch.empty_like(last)
    start = torch.zeros_like(last[:, 0])
    for block in order:
        starts[:, block] = start
        start = torch.addcmul(last[:, block], totals[:, block], start)
    _replay(decays, drives, starts)
    return starts


def _replay(decays: Sequence[Tensor], drives: Sequence[Tensor], starts: Tensor) -> None:
    """Turn drives into states, in place, from known first states."""
    state = starts
    for decay, drive in zip(decays, drives, strict=True):
        state = drive.addcmul_(decay, state)
