"""Imitation of class scores where the teacher finds anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.ops.feature_richness import feature_richness, rich_cross_entropy
from mmkd.ops.features import feature_pair, pyramid_levels, resize, smaller_size
from mmkd.registry import MODELS


@MODELS.register_module()
class FRSHeadLoss(nn.Module):
    """Ask the student's head for the teacher's class scores, most where those are high.

    With ``S = max_k sigmoid(t_k)`` of the teacher's scores at a location, the value at a level is
    ``sum S BCE(sigmoid(s), sigmoid(t)) / sum S``, entropies summed over class scores (classes,
    times the anchors of a location) and both sums taken over samples and positions; it is summed
    over levels. Its least value is the teacher's own entropy, not 0.

    In a term, ``student`` and ``teacher`` list one tap of the class scores a level, such as
    ``bbox_head[0][0]``; of a two-stage detector, those of its region proposal network. The head
    runs once: the taps read the very scores that the task's loss reads. The paper raises the
    weight over 500 iterations. Where sizes differ, a level's larger side is brought bilinearly
    to the smaller height and width.

    Computed in float32, or in float64 where an input is, whatever the autocast type. The
    teacher's side is detached.

    Source: Du et al., "Distilling Object Detectors with Feature Richness", NeurIPS 2021,
    section 3.3 (https://arxiv.org/abs/2111.00674).
    """

    def forward(
        self, student: Tensor | tuple[Tensor, ...], teacher: Tensor | tuple[Tensor, ...]
    ) -> Tensor:
        """Return the 0-dim loss.

        Args:
            student: Per level class scores before the sigmoid (N, K, H, W); a tensor alone is
                one level.
            teacher: Per level class scores before the sigmoid (N, K, H', W').

        Raises:
            UserError: Levels, batches or numbers of class scores differ.
        """
        levels = pyramid_levels('FRSHeadLoss', student=student, teacher=teacher)
        return sum(self._level(*level) for level in levels)

    def _level(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = feature_pair('FRSHeadLoss', student, teacher)
        if student.shape[1] != teacher.shape[1]:
            raise UserError(
                'FRSHeadLoss compares class scores: a location has '
                f'{student.shape[1]} of the student (classes times anchors), '
                f'{teacher.shape[1]} of the teacher'
            )
        size = smaller_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = resize(student, size), resize(teacher, size)
            return rich_cross_entropy(student, teacher, feature_richness(teacher))
