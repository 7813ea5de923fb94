"""Helpers to compare two features: checks, one dtype, one grid.

Shapes: see :mod:`mmkd.ops`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mmkd.errors import UserError


def cast_feature_pair(
    owner: str, student: Tensor, teacher: Tensor, same_channels: bool = False
) -> tuple[Tensor, Tensor]:
    """Check that two features fit each other and cast them for the arithmetic of a loss.

    Args:
        owner: Name of the loss, for error messages.
        student: (B, C, H, W).
        teacher: (B, C', H', W').
        same_channels: Whether the channel counts must agree.

    Returns:
        Both in float64 if either is, else in float32. The teacher's is detached.

    Raises:
        UserError: An input is not a single (B, C, H, W) tensor, or the two do not fit.
    """
    for side, feature in (('student', student), ('teacher', teacher)):
        if not isinstance(feature, Tensor):
            raise UserError(
                f'{owner}: {side} is a {type(feature).__name__}: expected one feature; give the '
                'term one tap, not a list'
            )
    shapes = f'student {tuple(student.shape)}, teacher {tuple(teacher.shape)}'
    if student.ndim != 4 or teacher.ndim != 4:
        raise UserError(f'{owner}: {shapes}: expected features (B, C, H, W)')
    if len(student) != len(teacher):
        raise UserError(f'{owner}: {shapes}: expected one batch size')
    if same_channels and student.shape[1] != teacher.shape[1]:
        raise UserError(
            f'{owner}: {student.shape[1]} student and {teacher.shape[1]} teacher channels: '
            'expected the same number; add an `adapter` to the term'
        )
    wide = torch.float64 in (student.dtype, teacher.dtype)
    dtype = torch.float64 if wide else torch.float32
    return student.to(dtype), teacher.detach().to(dtype)


def pyramid_levels(owner: str, **sides: Tensor | tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Group feature pyramids by level, where a list of taps gives one tensor per level.

    Args:
        owner: Name of the loss, for error messages.
        **sides: For each argument of the loss, one tensor per level; a single tensor is one level.

    Returns:
        For each level, one tensor of each side.

    Raises:
        UserError: The sides have different numbers of levels.
    """
    levels = {name: (x,) if isinstance(x, Tensor) else tuple(x) for name, x in sides.items()}
    if len({len(side) for side in levels.values()}) > 1:
        counts = ', '.join(f'{name} {len(side)}' for name, side in levels.items())
        raise UserError(f'{owner}: {counts}: expected one tap per level on every side')
    return list(zip(*levels.values(), strict=True))


def check_labels(owner: str, labels: Tensor | None, samples: int) -> None:
    """Check that there are label maps (B, H, W) of as many samples.

    Args:
        owner: Name of the loss, for messages.
        labels: Class ids, or None where the data has no label for each pixel.
        samples: B.

    Raises:
        UserError: There are none, or they have another shape.
    """
    if labels is None:
        raise UserError(
            f"{owner}: resolution='label': expected label maps; set resolution='feature'"
        )
    if labels.ndim != 3 or len(labels) != samples:
        raise UserError(
            f'{owner}: labels {tuple(labels.shape)}: expected (B, H, W) with B={samples}'
        )


def check_scores(owner: str, scores: Tensor, teacher: Tensor) -> None:
    """Check that class scores stand at the locations of a teacher's map.

    Args:
        owner: Name of the loss, for messages.
        scores: Class logits (B, K, H, W).
        teacher: (B, C, H, W).

    Raises:
        UserError: They have another batch or size.
    """
    if scores.ndim != 4 or (len(scores), *scores.shape[2:]) != (len(teacher), *teacher.shape[2:]):
        raise UserError(
            f"{owner}: scores {tuple(scores.shape)}: expected the teacher's scores at the size of "
            f'what they weight, {tuple(teacher.shape)}'
        )


def common_size(student: Tensor, teacher: Tensor) -> tuple[int, int]:
    """Return the smaller height and the smaller width of two (..., H, W)."""
    height, width = map(min, student.shape[-2:], teacher.shape[-2:])
    return height, width


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample ``x`` (B, C, H, W) bilinearly at the pixel centres of a grid of ``size`` (h, w).

    Shrinking does not smooth first: each new pixel interpolates the four nearest old ones.
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return functional.interpolate(x, size=size, mode='bilinear', align_corners=False)


def normalize_channels(x: Tensor, least: float = 1e-7) -> Tensor:
    """Normalise each channel to zero mean and unit deviation over batch and positions.

    The variance is the biased one. A constant channel becomes 0, with a gradient of 0. That is one
    whose deviation is at most ``least``, or so small beside its mean that rounding can be all of
    it.

    Args:
        x: (B, C, H, W).
        least: The deviation up to which a channel is constant.
    """
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
    rounding = 4 * torch.finfo(x.dtype).eps * mean.detach().abs()
    varies = variance > rounding.clamp(min=least).square()
    # Multiplied, not selected: a channel with NaN or infinity in it stays NaN.
    return (x - mean) * torch.where(varies, variance, 1).rsqrt() * varies
