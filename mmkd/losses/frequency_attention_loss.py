"""Frequency attention: attention transfer on a chosen part of the spectrum."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.ops.attention import attention_map, check_mapping, normalise_map
from mmkd.ops.features import feature_pair, smaller_size
from mmkd.ops.fourier import check_filter, frequency_filter, frequency_mask
from mmkd.registry import MODELS

_LEAST_DETAIL = 1e-3


@MODELS.register_module()
class FrequencyAttentionLoss(nn.Module):
    """Compare student and teacher in the frequencies that ``low``, ``high`` and ``cutoff`` pass.

    Each masked side goes through ``M = low * L + high * (1 - L)``, ``L`` a low-pass of radius
    ``cutoff`` (:func:`mmkd.ops.fourier.low_pass`). Where sizes differ, both sides are first
    brought, in the spectrum, to the smaller height and the smaller width; ``cutoff`` is a
    fraction of Nyquist on that common grid, so it means the same frequency on both sides.

    With ``Q(F) = sum_c |F_c|^p``, ``A(Q) = Q / ||Q||_2`` over H and W, and ``M`` standing for
    the filter, the value is

    * ``compare='attention'``: the mean over samples of ``||A_S - A_T||_2^2``, where ``A`` is
      ``A(Q(M F))`` in order ``filter_first`` and ``A(M Q(F))`` in order ``attend_first``. It
      does not change when a side is scaled, as long as ``||Q||_2`` stays well above the 1e-8 that
      keeps the division finite, and lies in [0, 2], or in [0, 4] for
      ``attend_first``, whose filtered maps may be negative. There ``||M Q||_2`` counts as at
      least a thousandth of what it is for a constant map of ``Q``'s mean: what a filter without
      ``low`` leaves of a map without detail is rounding. Channel counts may differ.
    * ``compare='feature'``: the mean square of ``M F_S - M F_T``. Channel counts must agree.

    Neither grows with batch, height or width. Everything is computed in float32, or in float64
    where an input is float64, whatever the autocast type. The teacher's side is detached.

    The attention maps are those of Zagoruyko & Komodakis, "Paying More Attention to Attention",
    ICLR 2017, section 3.1; the filtering of both networks' spectra is this library's.

    Args:
        low: Gain of the frequencies inside ``cutoff``, >= 0. A ratio ``alpha`` is
            ``low=alpha, high=1 - alpha``.
        high: Gain of those outside, >= 0; not 0 together with ``low``.
        cutoff: Radius of the low-pass in fractions of Nyquist, in (0, 1].
        filter: ``'gaussian'``, ``'ideal'`` or ``'butterworth'``.
        filter_on: ``'both'``, ``'teacher'`` or ``'student'``: which side is masked.
        order: ``'filter_first'`` filters every channel and then attends; ``'attend_first'``
            filters the one-channel map, which is far cheaper.
        compare: ``'attention'`` or ``'feature'``.
        p: Exponent of the attention map, >= 1; ``'feature'`` does not use it.

    Raises:
        UserError: A parameter is outside what is allowed, or ``attend_first`` is asked to
            compare features.
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
        _check_choice('filter_on', filter_on, ('both', 'teacher', 'student'))
        _check_choice('order', order, ('filter_first', 'attend_first'))
        _check_choice('compare', compare, ('attention', 'feature'))
        if order == 'attend_first' and compare == 'feature':
            raise UserError(
                "order='attend_first' leaves no feature to compare; with compare='feature' use "
                "order='filter_first'"
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

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the 0-dim loss of ``student`` (N, C, H, W) against ``teacher`` (N, C', H', W').

        Raises:
            UserError: The inputs are not 4-dimensional, their batches differ, or features are
                compared whose channel counts differ.
        """
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = feature_pair(
                'FrequencyAttentionLoss', student, teacher, same_channels=self.compare == 'feature'
            )
            size = smaller_size(student, teacher)
            masks_student, masks_teacher = self.filter_on != 'teacher', self.filter_on != 'student'
            if self.compare == 'feature':
                student = self._filter(student, size, masks_student)
                teacher = self._filter(teacher, size, masks_teacher)
                return (student - teacher).square().mean()
            student = self._attention(student, size, masks_student)
            teacher = self._attention(teacher, size, masks_teacher)
            return (student - teacher).square().sum(dim=(1, 2)).mean()

    def _attention(self, feature: Tensor, size: tuple[int, int], masked: bool) -> Tensor:
        """One side's unit map ``A`` on the common grid, (N, h, w)."""
        if self.order == 'filter_first':
            return normalise_map(attention_map(self._filter(feature, size, masked), p=self.p))
        whole = attention_map(feature, p=self.p)
        constant = whole.detach().mean(dim=(1, 2)) * math.sqrt(math.prod(size))
        return normalise_map(self._filter(whole, size, masked), least=_LEAST_DETAIL * constant)

    def _filter(self, x: Tensor, size: tuple[int, int], masked: bool) -> Tensor:
        """A feature or a map (..., H, W) on the common grid (..., h, w), in what ``M`` passes."""
        mask = None
        if masked and not self.low == self.high == 1:
            mask = frequency_mask(
                size, self.low, self.high, self.cutoff, self.filter, x.device, x.dtype
            )
        return frequency_filter(x, mask, size)

    def extra_repr(self) -> str:
        return (
            f'low={self.low}, high={self.high}, cutoff={self.cutoff}, filter={self.filter!r}, '
            f'filter_on={self.filter_on!r}, order={self.order!r}, compare={self.compare!r}, '
            f'p={self.p}'
        )


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f'{name}={value!r} is not known; allowed: {", ".join(allowed)}')
