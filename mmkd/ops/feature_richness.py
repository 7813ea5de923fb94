"""The feature-richness score of a detector, and averages weighted by it.

Du et al., "Distilling Object Detectors with Feature Richness", NeurIPS 2021, section 3
(https://arxiv.org/abs/2111.00674). Each function works on one level of a feature pyramid.

Shapes: see :mod:`mmkd.ops`; ``K`` is classes times anchors of a location.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mmkd.ops.divergence import pixel_divergence

SIDES = 4
"""Left, top, right and bottom of a box."""


def feature_richness(scores: Tensor) -> Tensor:
    """Return ``S = max_k sigmoid(scores_k)``, the score of the most probable class.

    Args:
        scores: Class logits (B, K, H, W).

    Returns:
        (B, H, W) in [0, 1].
    """
    return scores.amax(dim=1).sigmoid()


def richness_weighted_mse(student: Tensor, teacher: Tensor, richness: Tensor) -> Tensor:
    """Return ``sum S (T - F)^2 / sum S``, with squares summed over channels.

    Args:
        student: Feature ``F`` (B, C, H, W).
        teacher: Feature ``T`` (B, C, H, W).
        richness: ``S`` (B, H, W); both sums run over samples and positions.

    Returns:
        0-dim tensor; 0, with gradient 0, where ``S`` is 0 everywhere.
    """
    squares = (student - teacher).square().sum(dim=1)
    return (richness * squares).sum() / _total(richness)


def rich_cross_entropy(student: Tensor, teacher: Tensor, richness: Tensor) -> Tensor:
    """Return ``sum S BCE(sigmoid(s), sigmoid(t)) / sum S``, with BCE summed over class scores.

    The minimum, at ``s = t``, is the entropy of the teacher's scores, not 0.

    Args:
        student: Logits ``s`` (B, K, H, W).
        teacher: Logits ``t`` (B, K, H, W).
        richness: ``S`` (B, H, W); both sums run over samples and positions.

    Returns:
        0-dim tensor; 0, with gradient 0, where ``S`` is 0 everywhere.
    """
    total = functional.binary_cross_entropy_with_logits(
        student, teacher.sigmoid(), weight=richness[:, None], reduction='sum'
    )
    return total / _total(richness)


def rich_box_divergence(
    student: Tensor, teacher: Tensor, richness: Tensor, tau: float = 1.0
) -> Tensor:
    """Return ``sum S D / sum S``, with ``D`` the mean divergence over the four sides of a box.

    The channels of a side are bins: their softmax is the distribution of the distance from the
    location to that side (Li et al., "Generalized Focal Loss", NeurIPS 2020, section 3.2,
    https://arxiv.org/abs/2006.04388).

    Args:
        student: Box logits (B, 4 * bins, H, W), side after side.
        teacher: Box logits of the same shape.
        richness: ``S`` (B, H, W); both sums run over samples and positions.
        tau: Temperature of both softmaxes, > 0; the divergence is multiplied by ``tau^2``.

    Returns:
        0-dim tensor; 0, with gradient 0, where ``S`` is 0 everywhere.
    """
    sides = (x.unflatten(1, (SIDES, -1)).flatten(0, 1) for x in (student, teacher))
    divergence = pixel_divergence(*sides, tau).unflatten(0, (-1, SIDES)).mean(dim=1)
    return (richness * divergence).sum() / _total(richness)


def _total(richness: Tensor) -> Tensor:
    # The sigmoids can underflow to 0; then the numerator is 0 too.
    return richness.sum().clamp(min=torch.finfo(richness.dtype).tiny)
