"""Activation-based attention transfer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.ops.attention import (
    attention_map,
    check_distance,
    check_mapping,
    map_distance,
    normalise_map,
)
from mmkd.ops.features import feature_pair, resize, smaller_size
from mmkd.ops.fourier import fourier_resize
from mmkd.registry import MODELS

_RESIZES = ('bilinear', 'fourier')


@MODELS.register_module()
class ActivationATLoss(nn.Module):
    """Ask the student to look where the teacher looks.

    A feature ``F`` becomes one map, ``Q = sum_c |F_c|^p`` or ``Q = max_c |F_c|^p``, and every
    map is scaled to unit length, ``A = Q / (||Q||_2 + eps)``. The three mappings of the paper are
    ``sum`` with ``p=1``, ``sum`` with ``p`` and ``max`` with ``p``. The value is one of

    * ``l2_batch``: ``||A_S - A_T||_2`` over the whole batch, divided by N. It falls as
      ``1 / sqrt(N)`` when a batch is repeated: one norm is taken of all samples together.
    * ``l2``: the mean over samples of ``||A_S - A_T||_2``, in [0, sqrt(2)].
    * ``mse``: the mean square of ``A_S - A_T`` over samples and pixels, as in the code that the
      paper's authors released. Unit maps have squares of mean ``1 / (H W)``, hence its size.

    Where sizes differ, the larger ``Q`` is brought to the smaller height and width before it is
    scaled. A term with a list of taps compares layer by layer: the values are added, each with
    weight 1. Channel counts may differ. Scaling either side's features changes nothing, as long
    as ``||Q||_2`` stays well above ``eps``.

    Computed in float32, or in float64 where an input is, whatever the autocast type. The
    teacher's side is detached.

    Source: Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.1
    (https://arxiv.org/abs/1612.03928).

    Args:
        mapping: ``'sum'`` or ``'max'`` over the channels.
        p: Exponent, >= 1.
        distance: ``'l2_batch'``, ``'l2'`` or ``'mse'``.
        eps: Added to the norm, > 0.
        resize: ``'bilinear'``, or ``'fourier'``: exact for the band that the smaller map holds.

    Raises:
        UserError: A parameter is outside what is allowed.
    """

    def __init__(
        self,
        mapping: str = 'sum',
        p: float = 2,
        distance: str = 'l2_batch',
        eps: float = 1e-8,
        resize: str = 'bilinear',
    ) -> None:
        super().__init__()
        check_mapping(mapping, p)
        check_distance(distance)
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < math.inf:
            raise UserError(f'eps={eps!r} must be a number > 0')
        if resize not in _RESIZES:
            raise UserError(f'resize={resize!r} is not known; allowed: {", ".join(_RESIZES)}')
        self.mapping = mapping
        self.p = p
        self.distance = distance
        self.eps = eps
        self.resize = resize

    def forward(
        self, student: Tensor | tuple[Tensor, ...], teacher: Tensor | tuple[Tensor, ...]
    ) -> Tensor:
        """Return the 0-dim loss of one layer, or the sum over as many layers as are given.

        Args:
            student: (N, C, H, W), or one such feature a layer.
            teacher: (N, C', H', W'), or one such feature a layer.

        Raises:
            UserError: The sides differ in layers or batch, or a feature is not 4-dimensional.
        """
        students, teachers = _layers(student), _layers(teacher)
        if len(students) != len(teachers):
            raise UserError(
                f'ActivationATLoss compares layer by layer, got {len(students)} of the student '
                f'and {len(teachers)} of the teacher'
            )
        with torch.autocast(students[0].device.type, enabled=False):
            return sum(self._layer(*pair) for pair in zip(students, teachers, strict=True))

    def _layer(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = feature_pair('ActivationATLoss', student, teacher)
        size = smaller_size(student, teacher)
        maps = (self._attention(student, size), self._attention(teacher, size))
        return map_distance(*maps, self.distance)

    def _attention(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """The unit map A (N, h, w) of a feature."""
        q = attention_map(feature, self.mapping, self.p)
        if self.resize == 'fourier':
            q = fourier_resize(q, size)
        else:
            q = resize(q[:, None], size)[:, 0]
        return normalise_map(q, self.eps)

    def extra_repr(self) -> str:
        return (
            f'mapping={self.mapping!r}, p={self.p}, distance={self.distance!r}, eps={self.eps}, '
            f'resize={self.resize!r}'
        )


def _layers(features: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (features,) if isinstance(features, Tensor) else tuple(features)
