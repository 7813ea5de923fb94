"""The frequency attention module: a learned filter on the student's spectrum."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from mmkd.errors import UserError, is_integer
from mmkd.ops.features import cast_feature_pair, common_size, resize
from mmkd.ops.fourier import check_filter
from mmkd.ops.global_filter import global_and_local
from mmkd.registry import MODELS


@MODELS.register_module()
class FAMLoss(LazyModuleMixin, nn.Module):
    """Map the student's feature to the teacher's through a learned filter, then compare them.

    Two branches turn the student's C channels into the teacher's C':

    * global: every channel's spectrum is multiplied by its learned complex filter ``K``, which is 0
      within radius ``cutoff`` of the zero frequency; a 1x1 mixing of channels follows;
    * local: a 1x1 convolution of the feature.

    The value is the mean square of ``a * global + b * local - F_T``, with ``a`` and ``b`` learned
    from 0.5. It is not 0 for equal inputs, because the module has to learn the identity. If sizes
    differ, the larger side is first resized bilinearly to the smaller height and width.

    ``K`` is stored on a grid of frequencies and interpolated to the spectrum of each map, so the
    module accepts every crop and image size. You do not give channel counts: the first pass, when
    the term is built, sizes the parameters. They are trained with the student, but are not part of
    it. The term does not need an ``adapter``.

    Source: Pham et al., "Frequency Attention for Knowledge Distillation", WACV 2024
    (https://arxiv.org/abs/2403.05894), and the authors' code,
    https://github.com/cuong-pv/FAM-KD. What differs: there ``K`` has one gain for each pair of
    channels and each bin of one fixed map size, which would take gigabytes on segmentation maps.
    Here it is one filter per channel and a 1x1 mixing. ``K`` starts as 1 instead of small random
    numbers. The high-pass is a disc that contains at least the zero frequency, not a rectangle that
    is empty on small maps. The normalisation and ReLU that follow the module in the authors' review
    model are left out.

    Args:
        cutoff: Radius of the high-pass in fractions of Nyquist, in (0, 1].
        grid: Nodes (vertical, horizontal) of ``K``, over frequencies -1..1 and 0..1.

    Raises:
        UserError: A parameter is out of range.
    """

    def __init__(self, cutoff: float = 0.1, grid: tuple[int, int] = (17, 9)) -> None:
        super().__init__()
        check_filter(0, 1, cutoff, 'ideal')
        if (
            not isinstance(grid, tuple | list)
            or len(grid) != 2
            or not all(is_integer(n, least=1) for n in grid)
        ):
            raise UserError(f'grid={grid!r}: expected two positive integers')
        self.cutoff = cutoff
        self.grid = tuple(grid)
        self.filter = UninitializedParameter()  # (2, C, *grid): real and imaginary parts
        self.mixing = UninitializedParameter()  # (C', C)
        self.local = UninitializedParameter()  # (C', C)
        self.bias = UninitializedParameter()  # (C',)
        self.branches = nn.Parameter(torch.full((2,), 0.5))

    @torch.no_grad()
    def initialize_parameters(self, student: Tensor, teacher: Tensor) -> None:
        """Size the parameters for two features; do nothing once they have a size."""
        if not self.has_uninitialized_params():
            return
        cast_feature_pair('FAMLoss', student, teacher)
        channels, out = student.shape[1], teacher.shape[1]
        self.filter.materialize((2, channels, *self.grid))
        self.filter[0], self.filter[1] = 1, 0
        bound = 1 / math.sqrt(channels)  # as in a 1x1 nn.Conv2d
        for parameter, shape in (
            (self.mixing, (out, channels)),
            (self.local, (out, channels)),
            (self.bias, (out,)),
        ):
            parameter.materialize(shape)
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the 0-dim loss of ``student`` (B, C, H, W) against ``teacher`` (B, C', H', W').

        Raises:
            UserError: The inputs are not 4-dimensional, their batches differ, or their channels are
                not those of the first call.
        """
        student, teacher = cast_feature_pair('FAMLoss', student, teacher)
        channels = (student.shape[1], teacher.shape[1])
        if channels != (self.mixing.shape[1], self.mixing.shape[0]):
            raise UserError(
                f'FAMLoss: {channels[0]} student and {channels[1]} teacher channels: expected '
                f'{self.mixing.shape[1]} and {self.mixing.shape[0]}, those of the first call'
            )
        size = common_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            parameters = (self.filter, self.mixing, self.local, self.bias, self.branches)
            parameters = [parameter.to(student.dtype) for parameter in parameters]
            adapted = global_and_local(resize(student, size), *parameters, cutoff=self.cutoff)
            return (adapted - resize(teacher, size)).square().mean()

    def extra_repr(self) -> str:
        return f'cutoff={self.cutoff}, grid={self.grid}'
