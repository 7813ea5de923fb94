"""Frequency attention: attention transfer on a chosen part of the spectrum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError, check_choice
from mmkd.ops.attention import TeacherMap, check_mapping
from mmkd.ops.features import cast_feature_pair, common_size
from mmkd.ops.fourier import check_filter, frequency_filter, frequency_mask
from mmkd.ops.frequency_attention import attend_then_filter, filter_then_attend
from mmkd.registry import MODELS


@MODELS.register_module()
class FrequencyAttentionLoss(nn.Module):
    """Compare student and teacher in the frequencies that ``low``, ``high`` and ``cutoff`` pass.

    Each filtered side is multiplied by ``M = low * L + high * (1 - L)`` in the spectrum, where
    ``L`` is a low-pass of radius ``cutoff`` (:func:`mmkd.ops.fourier.low_pass`). If sizes differ,
    both sides are first resampled to the smaller height and the smaller width. ``cutoff`` is a
    fraction of Nyquist on that common grid, so it means the same frequency on both sides.

    With ``Q(F) = sum_c |F_c|^p`` and ``A(Q) = Q / ||Q||_2`` over H and W, the value is

    * ``compare='attention'``: ``||A_S - A_T||_2^2``, averaged over samples. ``A`` is ``A(Q(M F))``
      with ``order='filter_first'`` and ``A(M Q(F))`` with ``order='attend_first'``. Scaling a side
      does not change the value, as long as ``||Q||_2`` stays well above 1e-8. The value lies in
      [0, 2], or in [0, 4] with ``attend_first``, whose filtered maps can be negative. There
      ``||M Q||_2`` counts as at least 1/1000 of the norm of a constant map with the mean of ``Q``.
      Channel counts may differ.
    * ``compare='feature'``: the mean square of ``M F_S - M F_T``. Channel counts must agree.

    The value does not grow with batch, height or width.

    The attention maps are those of Zagoruyko & Komodakis, "Paying More Attention to Attention",
    ICLR 2017, section 3.1. Filtering the spectra of both networks is this library's own.

    Args:
        low: Gain of the frequencies inside ``cutoff``, >= 0. A ratio ``alpha`` is
            ``low=alpha, high=1 - alpha``.
        high: Gain of the frequencies outside, >= 0; low and high cannot both be 0.
        cutoff: Radius of the low-pass in fractions of Nyquist, in (0, 1].
        filter: ``'gaussian'``, ``'ideal'`` or ``'butterworth'``.
        filter_on: Which side is filtered: ``'both'``, ``'teacher'`` or ``'student'``.
        order: ``'filter_first'`` filters every channel, then computes the map; ``'attend_first'``
            filters the one-channel map, which costs far less.
        compare: ``'attention'`` or ``'feature'``.
        p: Exponent of the attention map, >= 1; ``'feature'`` does not use it.

    Raises:
        UserError: A parameter is out of range, or ``attend_first`` is combined with ``feature``.
    """

    def __init__(
        self,
        low: float,
        high: float,
        cutoff: float,
        filter: str = 'gaussian',
        filter_on: str = 'both',
        order: str = 'filter_first',
        compare: str = 'attention',
        p: float = 2,
    ) -> None:
        super().__init__()
        check_choice('filter_on', filter_on, ('both', 'teacher', 'student'))
        check_choice('order', order, ('filter_first', 'attend_first'))
        check_choice('compare', compare, ('attention', 'feature'))
        if order == 'attend_first' and compare == 'feature':
            raise UserError(
                "order='attend_first': expected order='filter_first' with compare='feature'"
            )
        check_filter(low, high, cutoff, filter)
        check_mapping('sum', p)
        self.low = low
        self.high = high
        self.cutoff = cutoff
        self.filter = filter
        self.filter_on = filter_on
        self.order = order
        self.compare = compare
        self.p = p

    def forward(self, student: Tensor, teacher: Tensor | TeacherMap) -> Tensor:
        """Return the 0-dim loss of ``student`` (B, C, H, W) against ``teacher`` (B, C', H', W').

        With ``compare='attention'`` the teacher can also be what :meth:`teacher_map` returns.

        Raises:
            UserError: The inputs are not 4-dimensional, their batches differ, or features with
                different channel counts are compared.
        """
        is_map = self.reads_teacher_map and isinstance(teacher, TeacherMap)
        student, teacher = cast_feature_pair(
            'FrequencyAttentionLoss',
            student,
            teacher.tensor[:, None] if is_map else teacher,
            same_channels=self.compare == 'feature',
        )
        with torch.autocast(student.device.type, enabled=False):
            size = tuple(teacher.shape[-2:]) if is_map else common_size(student, teacher)
            if self.compare == 'feature':
                student = frequency_filter(student, self._mask(student, size, 'student'), size)
                teacher = frequency_filter(teacher, self._mask(teacher, size, 'teacher'), size)
                return (student - teacher).square().mean()
            student = self._attention(student, size, 'student')
            teacher = teacher[:, 0] if is_map else self._attention(teacher, size, 'teacher')
            return (student - teacher).square().sum(dim=(1, 2)).mean()

    @property
    def reads_teacher_map(self) -> bool:
        """Whether :meth:`teacher_map` gives all that the loss reads of a teacher's feature."""
        return self.compare == 'attention'

    def teacher_map(self, teacher: Tensor, size: tuple[int, int]) -> TeacherMap:
        """Return the teacher's filtered attention map (B, h, w), which can be kept for later.

        Args:
            teacher: (B, C', H', W').
            size: The smaller of the student's and the teacher's height, and of their widths.
        """
        teacher, _ = cast_feature_pair('FrequencyAttentionLoss', teacher, teacher)
        return TeacherMap(self._attention(teacher, size, 'teacher'))

    def _attention(self, x: Tensor, size: tuple[int, int], side: str) -> Tensor:
        attend = filter_then_attend if self.order == 'filter_first' else attend_then_filter
        return attend(x, self._mask(x, size, side), size, self.p)

    def _mask(self, x: Tensor, size: tuple[int, int], side: str) -> Tensor | None:
        """Return the filter ``M`` on the common grid; None where it passes every frequency."""
        if self.filter_on not in ('both', side) or self.low == self.high == 1:
            return None
        return frequency_mask(
            size, self.low, self.high, self.cutoff, self.filter, x.device, x.dtype
        )

    def extra_repr(self) -> str:
        return (
            f'low={self.low}, high={self.high}, cutoff={self.cutoff}, filter={self.filter!r}, '
            f'filter_on={self.filter_on!r}, order={self.order!r}, compare={self.compare!r}, '
            f'p={self.p}'
        )
