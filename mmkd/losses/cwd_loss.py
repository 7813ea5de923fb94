"""Channel-wise distillation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.ops.divergence import channel_divergence, check_temperature
from mmkd.ops.features import feature_pair, resize, smaller_size
from mmkd.registry import MODELS


@MODELS.register_module()
class CWDLoss(nn.Module):
    """Ask every channel of the student to peak where the teacher's channel peaks.

    With ``P_c = softmax(F_c / tau)`` over the ``H W`` positions of channel ``c``, the value is
    ``tau^2`` times the mean over samples and channels of ``KL(P_T || P_S)``. The divergence is a
    sum over positions, yet does not grow with them, because the probabilities sum to 1.

    Works on features and on logits. Channel counts must agree. Where sizes differ, the larger
    side is brought bilinearly to the smaller height and width.

    Computed in float32, or in float64 where an input is, whatever the autocast type. The
    teacher's side is detached.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021
    (https://arxiv.org/abs/2011.13256).

    Args:
        tau: Temperature, > 0.

    Raises:
        UserError: ``tau`` is not > 0.
    """

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        check_temperature(tau)
        self.tau = tau

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the 0-dim loss of ``student`` (N, C, H, W) against ``teacher`` (N, C, H', W').

        Raises:
            UserError: The inputs are not 4-dimensional, or batches or channels differ.
        """
        student, teacher = feature_pair('CWDLoss', student, teacher, same_channels=True)
        size = smaller_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            sides = (resize(student, size), resize(teacher, size))
            return channel_divergence(*sides, self.tau).mean()

    def extra_repr(self) -> str:
        return f'tau={self.tau}'
