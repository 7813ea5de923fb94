"""The mean square difference of two features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.ops.features import feature_pair, resize, smaller_size
from mmkd.registry import MODELS


@MODELS.register_module()
class FeatureMSELoss(nn.Module):
    """Ask for the teacher's feature itself: the mean of ``(F_S - F_T)^2`` over all elements.

    Channel counts must agree, by the term's ``adapter`` where the networks' do not. Where sizes
    differ, the larger side is brought bilinearly to the smaller height and width.

    Computed in float32, or in float64 where an input is, whatever the autocast type. The
    teacher's side is detached.

    Source: the hint of Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015
    (https://arxiv.org/abs/1412.6550), as a mean and without its factor of one half.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the 0-dim loss of ``student`` (N, C, H, W) against ``teacher`` (N, C, H', W').

        Raises:
            UserError: The inputs are not 4-dimensional, or batches or channels differ.
        """
        student, teacher = feature_pair('FeatureMSELoss', student, teacher, same_channels=True)
        size = smaller_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            return (resize(student, size) - resize(teacher, size)).square().mean()
