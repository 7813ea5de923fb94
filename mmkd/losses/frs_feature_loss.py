"""Features of the teacher as targets, weighted by feature richness."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.ops.feature_richness import feature_richness, richness_weighted_mse
from mmkd.ops.features import cast_feature_pair, check_scores, common_size, pyramid_levels, resize
from mmkd.registry import MODELS


@MODELS.register_module()
class FRSFeatureLoss(nn.Module):
    """Train the student's pyramid to give the teacher's features, weighted by feature richness.

    At each level, ``S = max_k sigmoid(score_k)`` of the teacher is its highest class score at a
    location. The value is ``sum S (T - F)^2 / sum S``. Squares are summed over channels, and both
    sums run over samples and positions. Levels are added.

    In a term, ``student`` and ``teacher`` list one tap of the pyramid per level, and
    ``loss_inputs=dict(scores=[...])`` lists the teacher's class scores of the same levels. For a
    two-stage detector they are those of its region proposal network. The paper puts a 3x3
    convolution on each student level, ``adapter=dict(type='Conv2d', kernel_size=3, padding=1)``,
    and raises the weight over 500 iterations. If sizes differ, the larger side of a level is
    resized bilinearly to the smaller height and width.

    The teacher's scores are detached too.

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
            student: A feature (B, C, H, W) per level; a single tensor is one level.
            teacher: A feature (B, C, H', W') per level.
            scores: The teacher's class logits (B, K, H', W') per level.

        Raises:
            UserError: Levels, batches or channels differ, or the teacher's scores and features have
                different levels.
        """
        levels = pyramid_levels('FRSFeatureLoss', student=student, teacher=teacher, scores=scores)
        return sum(self._level(*level) for level in levels)

    def _level(self, student: Tensor, teacher: Tensor, scores: Tensor) -> Tensor:
        student, teacher = cast_feature_pair('FRSFeatureLoss', student, teacher, same_channels=True)
        check_scores('FRSFeatureLoss', scores, teacher)
        size = common_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            richness = feature_richness(resize(scores.detach().to(teacher.dtype), size))
            return richness_weighted_mse(resize(student, size), resize(teacher, size), richness)
