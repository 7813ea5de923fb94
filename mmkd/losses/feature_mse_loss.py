"""The mean squared difference of two features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.ops.features import cast_feature_pair, common_size, resize
from mmkd.registry import MODELS


@MODELS.register_module()
class FeatureMSELoss(nn.Module):
    """Train the student to give the teacher's feature: the mean of ``(F_S - F_T)^2``.

    Channel counts must agree; if they do not, give the term an ``adapter``. If sizes differ, the
    larger side is resized bilinearly to the smaller height and width.

    Source: the hint of Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015
    (https://arxiv.org/abs/1412.6550), as a mean and without the factor 1/2.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the 0-dim loss of ``student`` (B, C, H, W) against ``teacher`` (B, C, H', W').

        Raises:
            UserError: The inputs are not 4-dimensional, or batches or channels differ.
        """
        student, teacher = cast_feature_pair('FeatureMSELoss', student, teacher, same_channels=True)
        size = common_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            return (resize(student, size) - resize(teacher, size)).square().mean()
