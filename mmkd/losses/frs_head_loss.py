"""Class scores of the teacher as targets, weighted by feature richness."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.ops.feature_richness import feature_richness, rich_cross_entropy
from mmkd.ops.features import cast_feature_pair, common_size, pyramid_levels, resize
from mmkd.registry import MODELS


@MODELS.register_module()
class FRSHeadLoss(nn.Module):
    """Train the student's head to give the teacher's class scores, weighted by feature richness.

    With ``S = max_k sigmoid(t_k)`` of the teacher's logits at a location, the value of a level is
    ``sum S BCE(sigmoid(s), sigmoid(t)) / sum S``. BCE is summed over class scores (classes times
    the anchors of a location), and both sums run over samples and positions. Levels are added. The
    minimum is the entropy of the teacher's scores, not 0.

    In a term, ``student`` and ``teacher`` list one tap of the class scores per level, such as
    ``bbox_head[0][0]``. For a two-stage detector they are those of its region proposal network. The
    head runs once: the taps read the same scores as the task loss. The paper raises the weight over
    500 iterations. If sizes differ, the larger side of a level is resized bilinearly to the smaller
    height and width.

    Source: Du et al., "Distilling Object Detectors with Feature Richness", NeurIPS 2021,
    section 3.3 (https://arxiv.org/abs/2111.00674).
    """

    def forward(
        self, student: Tensor | tuple[Tensor, ...], teacher: Tensor | tuple[Tensor, ...]
    ) -> Tensor:
        """Return the 0-dim loss.

        Args:
            student: Class logits (B, K, H, W) per level; a single tensor is one level.
            teacher: Class logits (B, K, H', W') per level.

        Raises:
            UserError: Levels, batches or numbers of class scores differ.
        """
        levels = pyramid_levels('FRSHeadLoss', student=student, teacher=teacher)
        return sum(self._level(*level) for level in levels)

    def _level(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = cast_feature_pair('FRSHeadLoss', student, teacher)
        if student.shape[1] != teacher.shape[1]:
            raise UserError(
                f'FRSHeadLoss: {student.shape[1]} student and {teacher.shape[1]} teacher scores '
                'per location (classes times anchors): expected the same number'
            )
        size = common_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = resize(student, size), resize(teacher, size)
            return rich_cross_entropy(student, teacher, feature_richness(teacher))
