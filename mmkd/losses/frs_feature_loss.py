"""Feature imitation where the teacher finds anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.ops.feature_richness import feature_richness, rich_feature_distance
from mmkd.ops.features import feature_pair, pyramid_levels, resize, smaller_size
from mmkd.registry import MODELS


@MODELS.register_module()
class FRSFeatureLoss(nn.Module):
    """Ask the student's pyramid for the teacher's features, most where those are rich.

    At each level ``S = max_k sigmoid(score_k)`` of the teacher says how sure it is that a
    location shows any class. The value is ``sum S (T - F)^2 / sum S``, squares summed over
    channels and both sums taken over samples and positions, and is summed over levels.

    In a term, ``student`` and ``teacher`` list one tap of the pyramid a level, and
    ``teacher_extra=dict(scores=[...])`` the teacher's class scores of the same levels; of a
    two-stage detector, those of its region proposal network. The paper puts a 3x3 convolution
    on each of the student's levels, ``adapter=dict(type='Conv2d', kernel_size=3, padding=1)``,
    and raises the weight over 500 iterations. Where sizes differ, a level's larger side is
    brought bilinearly to the smaller height and width.

    Computed in float32, or in float64 where an input is, whatever the autocast type. The
    teacher's side and its scores are detached.

    Source: Du et al., "Distilling Object Detectors with Feature Richness", NeurIPS 2021,
    section 3.2 (https://arxiv.org/abs/2111.00674).
    """

    def forward(
        self,
        student: Tensor | tuple[Tensor, ...],
        teacher: Tensor | tuple[Tensor, ...],
        scores: Tensor | tuple[Tensor, ...],
    ) -> Tensor:
        """Return the 0-dim loss.

        Args:
            student: Per level a feature (N, C, H, W); a tensor alone is one level.
            teacher: Per level a feature (N, C, H', W').
            scores: Per level the teacher's class scores before the sigmoid (N, K, H', W').

        Raises:
            UserError: Levels, batches or channels differ, or scores and features of the
                teacher are of different levels.
        """
        levels = pyramid_levels('FRSFeatureLoss', student=student, teacher=teacher, scores=scores)
        return sum(self._level(*level) for level in levels)

    def _level(self, student: Tensor, teacher: Tensor, scores: Tensor) -> Tensor:
        student, teacher = feature_pair('FRSFeatureLoss', student, teacher, same_channels=True)
        if scores.ndim != 4 or (len(scores), *scores.shape[2:]) != (
            len(teacher),
            *teacher.shape[2:],
        ):
            raise UserError(
                "FRSFeatureLoss takes the scores of the teacher's level, of one size with its "
                f'feature {tuple(teacher.shape)}, got {tuple(scores.shape)}'
            )
        size = smaller_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            richness = feature_richness(resize(scores.detach().to(teacher.dtype), size))
            return rich_feature_distance(resize(student, size), resize(teacher, size), richness)
