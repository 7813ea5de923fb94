"""Kullback-Leibler divergences at the label's resolution, without upsampled logits of full size.

Student and teacher are each upsampled bilinearly from their own resolution and compared at the
label's, as if the networks themselves ended in the upsampling. Values and gradients are those of
:mod:`mmkd.ops.divergence` on the upsampled logits, but for rounding; the pieces are those of
:mod:`mmkd.ops.row_upsampling`.

Shapes: ``B`` samples, ``C`` channels or classes, ``(h, w)`` student, ``(h', w')`` teacher,
``(H, W)`` upsampled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd.ops.row_upsampling import RowUpsampler, plain_arithmetic, sum_over_rows, with_gradient


# A graph break: the compiler would unroll the loop over pieces.
@torch.compiler.disable
def upsampled_pixel_divergence(
    student: Tensor, teacher: Tensor, mask: Tensor, tau: float = 1.0
) -> Tensor:
    """Return the mean divergence of the classes' distribution over the pixels of a mask.

    It can be differentiated once, with respect to the student.

    Args:
        student: logits (B, C, h, w), in float32 or float64.
        teacher: logits (B, C, h', w') of the same type.
        mask: which pixels count, boolean (B, H, W).
        tau: temperature, > 0.

    Returns:
        0-dim; 0, with gradient 0, for an empty mask.
    """
    size = tuple(mask.shape[1:])
    needs_gradient = student.requires_grad and torch.is_grad_enabled()
    upsampler = RowUpsampler(tuple(teacher.shape[2:]), size, False, teacher)
    wide: dict[int, Tensor] = {}  # of the image in work

    def piece_loss(n: int, rows: slice, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        if n not in wide:
            wide.clear()
            wide[n] = upsampler.widen(teacher[n])
        counted = mask[n, rows][:, None]
        log_target = (upsampler.rows(wide[n], rows) / tau).log_softmax(1)
        log_student = (pixels / tau).log_softmax(1)
        target = log_target.exp()
        divergence = (target * log_target.sub_(log_student)).sum(1, keepdim=True)
        value = divergence.masked_fill(~counted, 0).sum()
        if not needs_gradient:
            return value, None
        return value, log_student.exp_().sub_(target).mul_(counted)

    with plain_arithmetic(student.device):
        total, gradient = sum_over_rows(piece_loss, student, size, False, needs_gradient)
        count = mask.sum().clamp(min=1).to(student.dtype)
        value = tau**2 * total / count
        if needs_gradient:
            gradient *= tau / count
    return with_gradient(value, student, gradient)


@torch.compiler.disable
def upsampled_channel_divergence(
    student: Tensor, teacher: Tensor, size: tuple[int, int], tau: float = 1.0
) -> Tensor:
    """Return the mean divergence, over samples and channels, of the positions' distribution.

    A channel's softmax is over all its positions, so a piece here is one channel of one sample.
    It can be differentiated once, with respect to the student.

    Args:
        student: (B, C, h, w), in float32 or float64.
        teacher: (B, C, h', w') of the same type.
        size: (H, W), to which both are upsampled.
        tau: temperature, > 0.

    Returns:
        0-dim.
    """
    needs_gradient = student.requires_grad and torch.is_grad_enabled()
    sides = [RowUpsampler(tuple(x.shape[2:]), size, False, x) for x in (student, teacher)]
    everything = slice(0, size[0])
    values, gradients = [], []
    channels = student.shape[0] * student.shape[1]
    with plain_arithmetic(student.device):
        pairs = zip(student.flatten(0, 1), teacher.flatten(0, 1), strict=True)
        for pair in pairs:
            wides = [side.widen(x[None]) for side, x in zip(sides, pair, strict=True)]
            log_student, log_target = (
                (side.rows(wide, everything).flatten() / tau).log_softmax(0)
                for side, wide in zip(sides, wides, strict=True)
            )
            target = log_target.exp()
            values.append((target * log_target.sub_(log_student)).sum())
            if needs_gradient:
                gradient = log_student.exp_().sub_(target).mul_(tau / channels)
                wide_gradient = torch.zeros_like(wides[0])
                sides[0].add_gradient(wide_gradient, gradient.view(size[0], 1, -1), everything)
                gradients.append(sides[0].narrow(wide_gradient)[0])
        value = tau**2 * torch.stack(values).mean()
        gradient = torch.stack(gradients).view_as(student) if needs_gradient else None
    return with_gradient(value, student, gradient)
