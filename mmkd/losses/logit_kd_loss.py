"""Pixel-wise distillation of logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.ops.divergence import check_temperature, mean_over, pixel_divergence
from mmkd.ops.features import feature_pair, resize
from mmkd.registry import MODELS


@MODELS.register_module()
class LogitKDLoss(nn.Module):
    """Ask the student for the teacher's class probabilities at every pixel.

    With ``P = softmax(logits / tau)`` over the classes, the value is ``tau^2`` times the mean
    over pixels of ``KL(P_T || P_S)``. The teacher's logits are brought bilinearly to the
    student's height and width, whichever is larger: every pixel of the student has a target.

    Given ``labels``, the mean is over the pixels whose label is not ``ignore_index``; without
    one such pixel the value and its gradient are 0. A logit pixel takes the label under its
    centre.

    Computed in float32, or in float64 where an input is, whatever the autocast type. The
    teacher's side is detached.

    Sources: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015
    (https://arxiv.org/abs/1503.02531); pixel by pixel: Liu et al., "Structured Knowledge
    Distillation for Semantic Segmentation", CVPR 2019 (https://arxiv.org/abs/1903.04197), which
    has ``tau=1``.

    Args:
        tau: Temperature, > 0.
        ignore_index: Label of the pixels to leave out.

    Raises:
        UserError: A parameter is outside what is allowed.
    """

    def __init__(self, tau: float = 4.0, ignore_index: int = 255) -> None:
        super().__init__()
        check_temperature(tau)
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
            raise UserError(f'ignore_index={ignore_index!r} must be an integer')
        self.tau = tau
        self.ignore_index = ignore_index

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the 0-dim loss.

        Args:
            student: Logits (N, C, H, W) of at least two classes.
            teacher: Logits (N, C, H', W').
            labels: Class ids (N, H'', W''), of any size; all pixels count without them.

        Raises:
            UserError: The inputs do not fit each other.
        """
        student, teacher = feature_pair('LogitKDLoss', student, teacher)
        classes, expected = student.shape[1], teacher.shape[1]
        if classes != expected:
            raise UserError(
                f'LogitKDLoss compares classes: the student has {classes}, the teacher {expected}'
            )
        if classes < 2:
            raise UserError('LogitKDLoss needs at least 2 classes: the softmax of one is always 1')
        with torch.autocast(student.device.type, enabled=False):
            teacher = resize(teacher, tuple(student.shape[2:]))
            divergence = pixel_divergence(student, teacher, self.tau)
            if labels is None:
                return divergence.mean()
            return mean_over(divergence, self._counted(labels, divergence))

    def _counted(self, labels: Tensor, pixels: Tensor) -> Tensor:
        """Which of ``pixels`` (N, H, W) have a label that counts."""
        if labels.ndim != 3 or len(labels) != len(pixels):
            raise UserError(
                f'LogitKDLoss takes labels (N, H, W) with N={len(pixels)}, '
                f'got {tuple(labels.shape)}'
            )
        counted = (labels != self.ignore_index)[:, None].to(pixels.dtype)
        size = tuple(pixels.shape[1:])
        return functional.interpolate(counted, size=size, mode='nearest-exact')[:, 0] > 0

    def extra_repr(self) -> str:
        return f'tau={self.tau}, ignore_index={self.ignore_index}'
