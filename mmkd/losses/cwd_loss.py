"""Channel-wise distillation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import check_choice
from mmkd.ops.divergence import channel_divergence, check_temperature
from mmkd.ops.features import cast_feature_pair, check_labels, common_size, resize
from mmkd.ops.upsampled_divergence import upsampled_channel_divergence
from mmkd.registry import MODELS


@MODELS.register_module()
class CWDLoss(nn.Module):
    """Train every channel of the student to peak where the teacher's channel peaks.

    With ``P_c = softmax(F_c / tau)`` over the ``H W`` positions of channel ``c``, the value is
    ``tau^2`` times the mean over samples and channels of ``KL(P_T || P_S)``. The divergence sums
    over positions, but does not grow with their number, because probabilities sum to 1.

    It works on features and on logits. Channel counts must agree. If sizes differ, the larger side
    is resized bilinearly to the smaller height and width.

    With ``resolution='label'``, both sides are upsampled bilinearly to the size of the labels
    instead, channel by channel. The value can then be differentiated once.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021
    (https://arxiv.org/abs/2011.13256).

    Args:
        tau: Temperature, > 0.
        resolution: ``'feature'`` compares at the smaller of the two sizes, ``'label'`` at the size
            of the labels.

    Raises:
        UserError: A parameter is out of range.
    """

    def __init__(self, tau: float = 1.0, resolution: str = 'feature') -> None:
        super().__init__()
        check_temperature(tau)
        check_choice('resolution', resolution, ('feature', 'label'))
        self.tau = tau
        self.resolution = resolution

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the 0-dim loss of ``student`` (B, C, H, W) against ``teacher`` (B, C, H', W').

        Args:
            student: (B, C, H, W).
            teacher: (B, C, H', W').
            labels: (B, H'', W''); only ``resolution='label'`` uses them, and only their size.

        Raises:
            UserError: The inputs are not 4-dimensional, or batches or channels differ.
        """
        student, teacher = cast_feature_pair('CWDLoss', student, teacher, same_channels=True)
        if self.resolution == 'label':
            check_labels('CWDLoss', labels, len(student))
            size = tuple(labels.shape[1:])
            return upsampled_channel_divergence(student, teacher, size, self.tau)
        size = common_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            sides = (resize(student, size), resize(teacher, size))
            return channel_divergence(*sides, self.tau).mean()

    def extra_repr(self) -> str:
        return f'tau={self.tau}, resolution={self.resolution!r}'
