"""What every comparison of two features needs: checks, one type, one grid.

Shapes: ``N`` samples, ``C`` channels, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mmkd.errors import UserError


def feature_pair(
    owner: str, student: Tensor, teacher: Tensor, same_channels: bool = False
) -> tuple[Tensor, Tensor]:
    """Check two features against each other and ready them for the arithmetic of a loss.

    Args:
        owner: Name of the loss, for messages.
        student: (N, C, H, W).
        teacher: (N, C', H', W').
        same_channels: Whether ``C`` and ``C'`` must agree.

    Returns:
        Both in float64 where either is, in float32 otherwise; the teacher's detached.

    Raises:
        UserError: An input is not one (N, C, H, W) tensor, or the two do not fit each other.
    """
    for side, feature in (('student', student), ('teacher', teacher)):
        if not isinstance(feature, Tensor):
            raise UserError(
                f'{owner} takes one feature a side, got {type(feature).__name__} from {side}; '
                'give the term one tap, not a list'
            )
    shapes = f'student {tuple(student.shape)}, teacher {tuple(teacher.shape)}'
    if student.ndim != 4 or teacher.ndim != 4:
        raise UserError(f'{owner} takes features (N, C, H, W), got {shapes}')
    if len(student) != len(teacher):
        raise UserError(f'{owner} needs one batch size on both sides, got {shapes}')
    if same_channels and student.shape[1] != teacher.shape[1]:
        raise UserError(
            f'{owner} needs as many student as teacher channels, got {student.shape[1]} and '
            f'{teacher.shape[1]}; an `adapter` on the term makes them match'
        )
    wide = torch.float64 in (student.dtype, teacher.dtype)
    dtype = torch.float64 if wide else torch.float32
    return student.to(dtype), teacher.detach().to(dtype)


def pyramid_levels(owner: str, **sides: Tensor | tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Pair the levels of feature pyramids that a list of taps each yields.

    Args:
        owner: Name of the loss, for messages.
        **sides: Per argument of the loss, one tensor a level; a tensor alone is one level.

    Returns:
        Per level, one tensor of each side.

    Raises:
        UserError: The sides have different numbers of levels.
    """
    levels = {name: (x,) if isinstance(x, Tensor) else tuple(x) for name, x in sides.items()}
    if len({len(side) for side in levels.values()}) > 1:
        counts = ', '.join(f'{name} {len(side)}' for name, side in levels.items())
        raise UserError(f'{owner} needs one tap a level on every side, got {counts}')
    return list(zip(*levels.values(), strict=True))


def smaller_size(student: Tensor, teacher: Tensor) -> tuple[int, int]:
    """The smaller height and the smaller width of two (..., H, W)."""
    height, width = map(min, student.shape[-2:], teacher.shape[-2:])
    return height, width


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample ``x`` (N, C, H, W) bilinearly at the pixel centres of a grid of ``size`` (h, w).

    Shrinking does not smooth first: each new pixel is read from the four around its centre.
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return functional.interpolate(x, size=size, mode='bilinear', align_corners=False)
