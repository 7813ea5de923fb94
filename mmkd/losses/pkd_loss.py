"""The difference of two features after each channel is normalised."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.ops.features import cast_feature_pair, common_size, normalize_channels, resize
from mmkd.registry import MODELS


@MODELS.register_module()
class PKDLoss(nn.Module):
    """Train the student to give the teacher's feature up to scale and offset of each channel.

    Each channel is normalised to zero mean and unit deviation over batch and positions. The value
    is half the mean of ``(F_S - F_T)^2`` over all elements. It equals ``1 - r``, where ``r`` is the
    Pearson correlation of a channel, averaged over channels. It lies in [0, 2].

    Channel counts must agree; if they do not, give the term an ``adapter``. If sizes differ, the
    larger side is resized bilinearly to the smaller height and width. A constant channel is
    normalised to 0. In distributed training each process normalises over its own batch.

    Source: Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson
    Correlation Coefficient", NeurIPS 2022, section 3.2 (https://arxiv.org/abs/2207.02039).
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the 0-dim loss of ``student`` (B, C, H, W) against ``teacher`` (B, C, H', W').

        Raises:
            UserError: The inputs are not 4-dimensional, or batches or channels differ.
        """
        student, teacher = cast_feature_pair('PKDLoss', student, teacher, same_channels=True)
        size = common_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = (normalize_channels(resize(x, size)) for x in (student, teacher))
            return (student - teacher).square().mean() / 2
