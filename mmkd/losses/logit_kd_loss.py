"""Distillation of logits, of pixels or of whole images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmkd.errors import UserError, check_choice, check_integer
from mmkd.ops.divergence import check_temperature, masked_mean, pixel_divergence
from mmkd.ops.features import cast_feature_pair, check_labels, resize
from mmkd.ops.upsampled_divergence import upsampled_pixel_divergence
from mmkd.registry import MODELS


@MODELS.register_module()
class LogitKDLoss(nn.Module):
    """Train the student to give the teacher's class probabilities at every pixel.

    With ``P = softmax(logits / tau)`` over the classes, the value is ``tau^2`` times the mean over
    pixels of ``KL(P_T || P_S)``. The teacher's logits are resized bilinearly to the student's
    height and width, so every student pixel has a target. Logits (B, C) of a classifier count as
    those of one pixel, which is the loss of Hinton et al.

    With ``labels``, the mean covers only pixels whose label is not ``ignore_index``. If there are
    none, the value and its gradient are 0. Each logit pixel takes the label at its centre.

    With ``resolution='label'``, both sides are upsampled to the size of the labels first, as a
    segmentation loss does with its logits. The upsampled logits are never held as a whole, and the
    value can be differentiated once.

    Sources: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015
    (https://arxiv.org/abs/1503.02531); pixel by pixel: Liu et al., "Structured Knowledge
    Distillation for Semantic Segmentation", CVPR 2019 (https://arxiv.org/abs/1903.04197), with
    ``tau=1``.

    Args:
        tau: Temperature, > 0.
        ignore_index: Label of the pixels to leave out.
        resolution: ``'feature'`` compares at the student's height and width, ``'label'`` at those
            of the labels.

    Raises:
        UserError: A parameter is out of range.
    """

    def __init__(
        self, tau: float = 4.0, ignore_index: int = 255, resolution: str = 'feature'
    ) -> None:
        super().__init__()
        check_temperature(tau)
        check_choice('resolution', resolution, ('feature', 'label'))
        check_integer('ignore_index', ignore_index)
        self.tau = tau
        self.ignore_index = ignore_index
        self.resolution = resolution

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the 0-dim loss.

        Args:
            student: Logits (B, C, H, W) of at least two classes, or (B, C) of images.
            teacher: Logits (B, C, H', W'), or (B, C) like the student's.
            labels: Class ids (B, H'', W''), of any size; without them all pixels count.
                ``resolution='label'`` needs them.

        Raises:
            UserError: The inputs do not fit each other.
        """
        if all(isinstance(x, Tensor) and x.ndim == 2 for x in (student, teacher)):
            student, teacher = student[..., None, None], teacher[..., None, None]
        student, teacher = cast_feature_pair('LogitKDLoss', student, teacher)
        classes, expected = student.shape[1], teacher.shape[1]
        if classes != expected:
            raise UserError(
                f'LogitKDLoss: {classes} student and {expected} teacher classes: expected the same '
                'number'
            )
        if classes < 2:
            raise UserError('LogitKDLoss: 1 class: expected at least 2; the softmax of one is 1')
        if self.resolution == 'label':
            check_labels('LogitKDLoss', labels, len(student))
            mask = labels != self.ignore_index
            return upsampled_pixel_divergence(student, teacher, mask, self.tau)
        with torch.autocast(student.device.type, enabled=False):
            teacher = resize(teacher, tuple(student.shape[2:]))
            divergence = pixel_divergence(student, teacher, self.tau)
            if labels is None:
                return divergence.mean()
            return masked_mean(divergence, self._counted(labels, divergence))

    def _counted(self, labels: Tensor, pixels: Tensor) -> Tensor:
        """Return the mask of ``pixels`` (B, H, W) whose label is not ``ignore_index``."""
        check_labels('LogitKDLoss', labels, len(pixels))
        counted = (labels != self.ignore_index)[:, None].to(pixels.dtype)
        size = tuple(pixels.shape[1:])
        return functional.interpolate(counted, size=size, mode='nearest-exact')[:, 0] > 0

    def extra_repr(self) -> str:
        return f'tau={self.tau}, ignore_index={self.ignore_index}, resolution={self.resolution!r}'
