"""Where a detector finds anything: the feature-richness score, and means that it weights.

Du et al., "Distilling Object Detectors with Feature Richness", NeurIPS 2021, section 3
(https://arxiv.org/abs/2111.00674). One level of a feature pyramid at a time.

Shapes: ``N`` samples, ``C`` channels, ``K`` class scores (times anchors, where a location has
several), ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def feature_richness(scores: Tensor) -> Tensor:
    """``S = max_k sigmoid(scores_k)``: how sure a detector is that a location shows any class.

    Args:
        scores: class scores before the sigmoid (N, K, H, W).

    Returns:
        (N, H, W) in [0, 1].
    """
    return scores.amax(dim=1).sigmoid()


def rich_feature_distance(student: Tensor, teacher: Tensor, richness: Tensor) -> Tensor:
    """``sum S (T - F)^2 / sum S``: squares are summed over channels.

    Args:
        student: feature ``F`` (N, C, H, W).
        teacher: feature ``T`` (N, C, H, W).
        richness: ``S`` (N, H, W); both sums run over samples and positions.

    Returns:
        0-dim tensor; 0, with gradient 0, where ``S`` is 0 everywhere.
    """
    squares = (student - teacher).square().sum(dim=1)
    return (richness * squares).sum() / _total(richness)


def rich_cross_entropy(student: Tensor, teacher: Tensor, richness: Tensor) -> Tensor:
    """``sum S BCE(sigmoid(s), sigmoid(t)) / sum S``: entropies are summed over class scores.

    Its least value, at ``s = t``, is the teacher's own entropy and not 0.

    Args:
        student: scores ``s`` before the sigmoid (N, K, H, W).
        teacher: scores ``t`` before the sigmoid (N, K, H, W).
        richness: ``S`` (N, H, W); both sums run over samples and positions.

    Returns:
        0-dim tensor; 0, with gradient 0, where ``S`` is 0 everywhere.
    """
    total = functional.binary_cross_entropy_with_logits(
        student, teacher.sigmoid(), weight=richness[:, None], reduction='sum'
    )
    return total / _total(richness)


def _total(richness: Tensor) -> Tensor:
    # A sigmoid underflows to 0, and then so does the numerator.
    return richness.sum().clamp(min=torch.finfo(richness.dtype).tiny)
