"""Distributions of the teacher's boxes as targets, weighted by feature richness."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.ops.divergence import check_temperature
from mmkd.ops.feature_richness import SIDES, feature_richness, rich_box_divergence
from mmkd.ops.features import cast_feature_pair, check_scores, pyramid_levels
from mmkd.registry import MODELS


@MODELS.register_module()
class LocalizationKDLoss(nn.Module):
    """Train the student's head to give the teacher's distributions of box sides.

    For heads that predict a distribution over distances for each side of a box, such as those of
    YOLO11 and GFL. With ``P = softmax(logits / tau)`` over the bins of a side, the divergence of a
    location is the mean of ``tau^2 KL(P_T || P_S)`` over its four sides. With
    ``S = max_k sigmoid(score_k)``, the teacher's highest class score at a location, the value of a
    level is ``sum S D / sum S``. Both sums run over samples and positions. Levels are added.

    The paper distils the locations that the labels assign to a box and those around them. Here
    ``S`` weights the locations, so images without labels can be used too.

    In a term, ``student`` and ``teacher`` list one tap of the box logits per level, such as
    ``bbox_head[1][0]``, and ``loss_inputs=dict(scores=[...])`` lists the teacher's class scores of
    the same levels. Distances count in strides, so the two sides must have one size.

    Source: Zheng et al., "Localization Distillation for Dense Object Detection", CVPR 2022,
    section 3.1 (https://arxiv.org/abs/2102.12252).

    Args:
        tau: Temperature, > 0; the paper has 10.

    Raises:
        UserError: ``tau`` is out of range.
    """

    def __init__(self, tau: float = 10.0) -> None:
        super().__init__()
        check_temperature(tau)
        self.tau = tau

    def forward(
        self,
        student: Tensor | tuple[Tensor, ...],
        teacher: Tensor | tuple[Tensor, ...],
        scores: Tensor | tuple[Tensor, ...],
    ) -> Tensor:
        """Return the 0-dim loss.

        Args:
            student: Box logits (B, 4 * bins, H, W) per level; a single tensor is one level.
            teacher: Box logits of the same shape per level.
            scores: The teacher's class logits (B, K, H, W) per level.

        Raises:
            UserError: Levels, batches, sizes or numbers of bins differ.
        """
        levels = pyramid_levels(
            'LocalizationKDLoss', student=student, teacher=teacher, scores=scores
        )
        return sum(self._level(*level) for level in levels)

    def _level(self, student: Tensor, teacher: Tensor, scores: Tensor) -> Tensor:
        student, teacher = cast_feature_pair('LocalizationKDLoss', student, teacher)
        _check_boxes(student, teacher)
        check_scores('LocalizationKDLoss', scores, teacher)
        with torch.autocast(student.device.type, enabled=False):
            richness = feature_richness(scores.detach().to(teacher.dtype))
            return rich_box_divergence(student, teacher, richness, self.tau)

    def extra_repr(self) -> str:
        return f'tau={self.tau}'


def _check_boxes(student: Tensor, teacher: Tensor) -> None:
    channels = teacher.shape[1]
    if channels % SIDES or channels == SIDES:
        raise UserError(
            f'LocalizationKDLoss: {channels} box logits per location: expected 4 sides of 2 or '
            'more bins each; take it for heads that predict distributions, such as YOLO11 and GFL'
        )
    if student.shape != teacher.shape:
        raise UserError(
            f'LocalizationKDLoss: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}: '
            'expected box logits of one shape; compare levels of one stride, with as many bins'
        )
