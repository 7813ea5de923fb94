"""Activation-based attention transfer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError, check_choice, check_number
from mmkd.ops.attention import (
    TeacherMap,
    attention_map,
    check_distance,
    check_mapping,
    map_distance,
    normalise_map,
)
from mmkd.ops.features import cast_feature_pair, common_size, resize
from mmkd.ops.fourier import fourier_resize
from mmkd.registry import MODELS

_RESIZES = ('bilinear', 'fourier')


@MODELS.register_module()
class ActivationATLoss(nn.Module):
    """Train the student to look where the teacher looks.

    A feature ``F`` becomes one map, ``Q = sum_c |F_c|^p`` or ``Q = max_c |F_c|^p``. Each map is
    scaled to unit length, ``A = Q / (||Q||_2 + eps)``. The paper's three mappings are ``sum`` with
    ``p=1``, ``sum`` with ``p`` and ``max`` with ``p``. The value is one of

    * ``l2_batch``: ``||A_S - A_T||_2`` over the whole batch, divided by B. One norm covers all
      samples, so the value falls as ``1 / sqrt(B)`` when a batch is repeated.
    * ``l2``: ``||A_S - A_T||_2``, averaged over samples, in [0, sqrt(2)].
    * ``mse``: the mean square of ``A_S - A_T`` over samples and pixels, as in the authors' code.
      The squares of a unit map average ``1 / (H W)``, so the value is small.

    If sizes differ, the larger ``Q`` is resized to the smaller height and width before scaling. A
    term with a list of taps compares layer by layer and adds the values. Channel counts may differ.
    Scaling the features of a side changes nothing, as long as ``||Q||_2`` stays well above ``eps``.

    Source: Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.1
    (https://arxiv.org/abs/1612.03928).

    Args:
        mapping: ``'sum'`` or ``'max'`` over the channels.
        p: Exponent, >= 1.
        distance: ``'l2_batch'``, ``'l2'`` or ``'mse'``.
        eps: Added to the norm, > 0.
        resize: ``'bilinear'``, or ``'fourier'``, which is exact up to the smaller map's Nyquist.

    Raises:
        UserError: A parameter is out of range.
    """

    reads_teacher_map = True

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
        check_number('eps', eps, above=0)
        check_choice('resize', resize, _RESIZES)
        self.mapping = mapping
        self.p = p
        self.distance = distance
        self.eps = eps
        self.resize = resize

    def forward(
        self,
        student: Tensor | tuple[Tensor, ...],
        teacher: Tensor | TeacherMap | tuple[Tensor | TeacherMap, ...],
    ) -> Tensor:
        """Return the 0-dim loss, summed over the layers.

        Args:
            student: (B, C, H, W), or one such feature per layer.
            teacher: (B, C', H', W') or what :meth:`teacher_map` makes of it, or one per layer.

        Raises:
            UserError: The sides differ in layers or batch, or a feature is not 4-dimensional.
        """
        students, teachers = _layers(student), _layers(teacher)
        if len(students) != len(teachers):
            raise UserError(
                f'ActivationATLoss: {len(students)} student and {len(teachers)} teacher layers: '
                'expected the same number'
            )
        with torch.autocast(students[0].device.type, enabled=False):
            return sum(self._layer(*pair) for pair in zip(students, teachers, strict=True))

    def _layer(self, student: Tensor, teacher: Tensor | TeacherMap) -> Tensor:
        if isinstance(teacher, TeacherMap):
            size = tuple(teacher.tensor.shape[-2:])
            kept = teacher.tensor[:, None]
            student, kept = cast_feature_pair('ActivationATLoss', student, kept)
            return map_distance(self._attention(student, size), kept[:, 0], self.distance)
        student, teacher = cast_feature_pair('ActivationATLoss', student, teacher)
        size = common_size(student, teacher)
        maps = (self._attention(student, size), self._attention(teacher, size))
        return map_distance(*maps, self.distance)

    def teacher_map(self, teacher: Tensor, size: tuple[int, int]) -> TeacherMap:
        """Return all that the loss reads of a teacher's feature, which can be kept for later.

        Args:
            teacher: (B, C', H', W').
            size: The smaller of the student's and the teacher's height, and of their widths.

        Returns:
            The unit map (B, h, w).
        """
        teacher, _ = cast_feature_pair('ActivationATLoss', teacher, teacher)
        return TeacherMap(self._attention(teacher, size))

    def _attention(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the unit map ``A`` (B, h, w) of a feature."""
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


def _layers(features: Tensor | TeacherMap | tuple) -> tuple:
    return (features,) if isinstance(features, Tensor | TeacherMap) else tuple(features)
