"""Gradient-based attention transfer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.ops.features import feature_pair
from mmkd.registry import MODELS


@MODELS.register_module()
class GradientATLoss(nn.Module):
    """Ask the student's loss to answer to the pixels that the teacher's loss answers to.

    With ``J = dL/dx`` of each network for its own task loss, the value is the mean over images
    of ``beta / 2 * ||J_S - J_T||_2``, the norm over channels and pixels. A term takes both
    gradients from the word ``input_gradient``::

        dict(student='input_gradient', teacher='input_gradient', loss=dict(type='GradientATLoss'))

    Both are taken with respect to the batch that the student is fed, normalised by the
    student's mean and standard deviation, whatever the teacher's are, and both are of each
    image's own loss times ``sqrt(H W)`` (:func:`mmkd.ops.gradient.input_gradient`): the value
    does not grow or fall with batch, height or width.

    Such a term runs the teacher through its loss and back to the image, and the student's
    parameters get the gradient of a gradient: every layer of the student must have a second
    derivative. Activation checkpointing (``with_cp``) and SyncBatchNorm have none and are refused.

    Computed in float32, or in float64 where an input is, whatever the autocast type; a gradient
    scaler leaves the value as it is. The teacher's side is detached.

    Source: Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.2
    (https://arxiv.org/abs/1612.03928).

    Args:
        beta: The paper's weight, > 0.

    Raises:
        UserError: ``beta`` is not > 0.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 < beta < math.inf:
            raise UserError(f'beta={beta!r} must be a number > 0')
        self.beta = beta

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the 0-dim loss of two gradients (N, C, H, W) with respect to one batch.

        Raises:
            UserError: The inputs are not 4-dimensional or differ in shape.
        """
        student, teacher = feature_pair('GradientATLoss', student, teacher)
        if student.shape != teacher.shape:
            raise UserError(
                'GradientATLoss compares gradients with respect to one batch, got '
                f'{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher'
            )
        with torch.autocast(student.device.type, enabled=False):
            # vector_norm, unlike sqrt of a sum, has the gradient 0 at 0.
            norms = torch.linalg.vector_norm(student - teacher, dim=(1, 2, 3))
            return self.beta / 2 * norms.mean()

    def extra_repr(self) -> str:
        return f'beta={self.beta}'
