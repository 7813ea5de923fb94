"""Kullback-Leibler divergences of a student's distributions from its teacher's.

``KL(T || S) = sum_i T_i log(T_i / S_i)`` of two softmaxes at temperature ``tau``. Every result is
multiplied by ``tau^2``: the gradient falls with ``1 / tau^2``, so this keeps its size constant
(Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2,
https://arxiv.org/abs/1503.02531).

Shapes: see :mod:`mmkd.ops`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd.errors import UserError, check_number


def pixel_divergence(student: Tensor, teacher: Tensor, tau: float = 1.0) -> Tensor:
    """Return the divergence of the class distributions at every pixel.

    Liu et al., "Structured Knowledge Distillation for Semantic Segmentation", CVPR 2019,
    section 3.1 (https://arxiv.org/abs/1903.04197).

    Args:
        student: Logits (B, C, H, W).
        teacher: Logits of the same shape.
        tau: Temperature, > 0.

    Returns:
        (B, H, W), >= 0 up to rounding; 0 where the logits of a pixel differ by a constant.

    Raises:
        UserError: The shapes differ, or ``tau`` is not > 0.
    """
    _check(student, teacher, tau)
    return tau**2 * _divergence(student / tau, teacher / tau, dim=1)


def channel_divergence(student: Tensor, teacher: Tensor, tau: float = 1.0) -> Tensor:
    """Return the divergence of the distributions over positions in every channel.

    Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021,
    section 3.2 (https://arxiv.org/abs/2011.13256).

    Args:
        student: (B, C, H, W).
        teacher: The same shape.
        tau: Temperature, > 0. A larger one spreads the weight over more of a channel.

    Returns:
        (B, C), >= 0 up to rounding; 0 where a channel differs by a constant.

    Raises:
        UserError: The shapes differ, or ``tau`` is not > 0.
    """
    _check(student, teacher, tau)
    return tau**2 * _divergence(student.flatten(2) / tau, teacher.flatten(2) / tau, dim=2)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of ``values`` where the boolean ``mask`` is set; 0 if it is set nowhere."""
    kept = torch.where(mask, values, 0)
    return kept.sum() / mask.sum().clamp(min=1)


def check_temperature(tau: float) -> None:
    """Raise :class:`UserError` unless ``tau`` is a number above 0."""
    check_number('tau', tau, above=0)


def _divergence(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    # Keep logarithms: a probability that underflows to 0 is then times a finite difference.
    student = student.log_softmax(dim)
    teacher = teacher.log_softmax(dim)
    return (teacher.exp() * (teacher - student)).sum(dim)


def _check(student: Tensor, teacher: Tensor, tau: float) -> None:
    check_temperature(tau)
    if student.shape != teacher.shape or student.ndim != 4:
        raise UserError(
            f'logits have shapes {tuple(student.shape)} and {tuple(teacher.shape)}: expected two '
            '(B, C, H, W) of one shape'
        )
