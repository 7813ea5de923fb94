"""Kullback-Leibler divergences of a student's distributions from its teacher's.

``KL(T || S) = sum_i T_i log(T_i / S_i)`` of two softmaxes at temperature ``tau``. Every result is
multiplied by ``tau^2``: the gradient of the divergence falls with its inverse, and so keeps its
size as ``tau`` changes (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015,
section 2, https://arxiv.org/abs/1503.02531).

Shapes: ``N`` samples, ``C`` channels or classes, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmkd.errors import UserError


def pixel_divergence(student: Tensor, teacher: Tensor, tau: float = 1.0) -> Tensor:
    """Divergence of the classes' distribution at every pixel.

    Liu et al., "Structured Knowledge Distillation for Semantic Segmentation", CVPR 2019,
    section 3.1 (https://arxiv.org/abs/1903.04197).

    Args:
        student: Logits (N, C, H, W).
        teacher: Logits of the same shape.
        tau: Temperature, > 0.

    Returns:
        (N, H, W), >= 0 but for rounding; 0 where the logits differ by one constant a pixel.

    Raises:
        UserError: The shapes differ or ``tau`` is not > 0.
    """
    _check(student, teacher, tau)
    return tau**2 * _divergence(student / tau, teacher / tau, dim=1)


def channel_divergence(student: Tensor, teacher: Tensor, tau: float = 1.0) -> Tensor:
    """Divergence of the positions' distribution in every channel.

    Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021,
    section 3.2 (https://arxiv.org/abs/2011.13256).

    Args:
        student: (N, C, H, W).
        teacher: The same shape.
        tau: Temperature, > 0; the larger, the wider the part of a channel that counts.

    Returns:
        (N, C), >= 0 but for rounding; 0 where a channel differs by one constant.

    Raises:
        UserError: The shapes differ or ``tau`` is not > 0.
    """
    _check(student, teacher, tau)
    return tau**2 * _divergence(student.flatten(2) / tau, teacher.flatten(2) / tau, dim=2)


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of ``values`` where the boolean ``chosen`` is set; 0, with gradient 0, if nowhere."""
    kept = torch.where(chosen, values, 0)
    return kept.sum() / chosen.sum().clamp(min=1)


def check_temperature(tau: float) -> None:
    """Raise :class:`UserError` unless ``tau`` is a number above 0."""
    number = isinstance(tau, int | float) and not isinstance(tau, bool)
    if not number or not 0 < tau < math.inf:
        raise UserError(f'tau={tau!r} must be a number > 0')


def _divergence(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    # Both stay logarithms: a probability that underflows to 0 then meets a finite difference.
    student = student.log_softmax(dim)
    teacher = teacher.log_softmax(dim)
    return (teacher.exp() * (teacher - student)).sum(dim)


def _check(student: Tensor, teacher: Tensor, tau: float) -> None:
    check_temperature(tau)
    if student.shape != teacher.shape or student.ndim != 4:
        raise UserError(
            f'a divergence takes two (N, C, H, W) of one shape, got {tuple(student.shape)} and '
            f'{tuple(teacher.shape)}'
        )
