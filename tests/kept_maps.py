"""What holds for a loss that can compare with a kept attention map of the teacher."""

import torch
from torch import Tensor, nn


def check_kept_map(loss: nn.Module, student: Tensor, teacher: Tensor) -> None:
    """Check that value and gradient are the same for a feature and for the map that is kept of it.

    Args:
        loss: Has ``teacher_map``.
        student: (B, C, H, W).
        teacher: (B, C', H', W').
    """
    student.requires_grad_()
    size = tuple(map(min, student.shape[-2:], teacher.shape[-2:]))
    kept = loss.teacher_map(teacher, size)
    assert kept.tensor.shape == (len(teacher), *size)
    values = [loss(student, teacher), loss(student, kept)]
    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(*(torch.autograd.grad(value, student)[0] for value in values))
