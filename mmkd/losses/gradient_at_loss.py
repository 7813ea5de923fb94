"""Gradient-based attention transfer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError, check_number
from mmkd.ops.features import cast_feature_pair
from mmkd.registry import MODELS


@MODELS.register_module()
class GradientATLoss(nn.Module):
    """Train the student's loss to depend on the pixels that the teacher's loss depends on.

    With ``J = dL/dx`` of each network for its own task loss, the value is
    ``beta / 2 * ||J_S - J_T||_2``, the norm over channels and pixels, averaged over images. A term
    gets both gradients from the tap ``input_gradient``::

        dict(student='input_gradient', teacher='input_gradient', loss=dict(type='GradientATLoss'))

    Both gradients are with respect to the student's batch, in the units of the student's mean and
    standard deviation. Both are scaled by :func:`mmkd.ops.gradient.input_gradient`, so the value
    does not change with batch, height or width.

    Such a term runs the teacher's loss and its backward pass to the image. The student's parameters
    get the gradient of a gradient, so every student layer must be twice differentiable. Activation
    checkpointing (``with_cp``) and SyncBatchNorm are not, and raise an error. A gradient scaler
    does not change the value.

    Source: Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.2
    (https://arxiv.org/abs/1612.03928).

    Args:
        beta: The paper's weight, > 0.

    Raises:
        UserError: ``beta`` is not > 0.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        check_number('beta', beta, above=0)
        self.beta = beta

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the 0-dim loss of two gradients (B, C, H, W) with respect to one batch.

        Raises:
            UserError: The inputs are not 4-dimensional or differ in shape.
        """
        student, teacher = cast_feature_pair('GradientATLoss', student, teacher)
        if student.shape != teacher.shape:
            raise UserError(
                f'GradientATLoss: student {tuple(student.shape)}, teacher '
                f'{tuple(teacher.shape)}: expected gradients with respect to one batch'
            )
        with torch.autocast(student.device.type, enabled=False):
            # vector_norm has gradient 0 at 0; the square root of a sum does not.
            norms = torch.linalg.vector_norm(student - teacher, dim=(1, 2, 3))
            return self.beta / 2 * norms.mean()

    def extra_repr(self) -> str:
        return f'beta={self.beta}'
