"""The frequency attention module: a learned filter on the student's spectrum."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter

from mmkd.errors import UserError
from mmkd.ops.features import feature_pair, resize, smaller_size
from mmkd.ops.fourier import check_filter
from mmkd.ops.global_filter import filter_globally
from mmkd.registry import MODELS


@MODELS.register_module()
class FAMLoss(LazyModuleMixin, nn.Module):
    """Bring the student's feature to the teacher's through a learned filter, then compare them.

    Two branches turn the student's C channels into the teacher's C':

    * global: every channel's spectrum times its own learned complex filter ``K``, nothing
      within radius ``cutoff`` of the zero frequency passing, then a 1x1 mixing of channels;
    * local: a 1x1 convolution of the feature as it is.

    The value is the mean square of ``a * global + b * local - F_T``, with ``a`` and ``b``
    learned from 0.5. It is not 0 for equal inputs: that is for the module to learn. Where sizes
    differ, the larger side is first brought bilinearly to the smaller height and width.

    ``K`` is held on a grid over frequencies and interpolated at the bins of the map at hand, so
    the module takes every crop and image size. No channel count is typed: the first pass, which
    a term makes when it is built, sizes the parameters. They are trained with the student and
    are not part of it. The term needs no ``adapter``.

    Computed in float32, or in float64 where an input is, whatever the autocast type. The
    teacher's side is detached.

    Source: Pham et al., "Frequency Attention for Knowledge Distillation", WACV 2024
    (https://arxiv.org/abs/2403.05894), and the code of its authors,
    https://github.com/cuong-pv/FAM-KD. What differs: there ``K`` has one gain for each pair of
    channels and each bin of a map of one fixed size, which would be gigabytes on maps for
    segmentation; here it is the product of a filter a channel and a 1x1 mixing. ``K`` starts as
    1 instead of small random numbers. The high-pass is a disc that holds at least the zero
    frequency, not a rectangle that is empty on small maps. The normalisation and ReLU that the
    authors put behind the module in their review model are left out.

    Args:
        cutoff: Radius of the high-pass in fractions of Nyquist, in (0, 1].
        grid: Nodes (vertical, horizontal) of ``K``, over frequencies -1..1 and 0..1.

    Raises:
        UserError: A parameter is outside what is allowed.
    """

    def __init__(self, cutoff: float = 0.1, grid: tuple[int, int] = (17, 9)) -> None:
        super().__init__()
        check_filter(0, 1, cutoff, 'ideal')
        if (
            not isinstance(grid, tuple | list)
            or len(grid) != 2
            or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in grid)
        ):
            raise UserError(f'grid={grid!r} must be two positive integers')
        self.cutoff = cutoff
        self.grid = tuple(grid)
        self.filter = UninitializedParameter()  # (2, C, *grid): real and imaginary parts
        self.mixing = UninitializedParameter()  # (C', C)
        self.local = UninitializedParameter()  # (C', C)
        self.bias = UninitializedParameter()  # (C',)
        self.branches = nn.Parameter(torch.full((2,), 0.5))

    @torch.no_grad()
    def initialize_parameters(self, student: Tensor, teacher: Tensor) -> None:
        """Size the parameters for two features; a no-op once they have a size."""
        if not self.has_uninitialized_params():
            return
        feature_pair('FAMLoss', student, teacher)
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
        """Return the 0-dim loss of ``student`` (N, C, H, W) against ``teacher`` (N, C', H', W').

        Raises:
            UserError: The inputs are not 4-dimensional, their batches differ, or their channels
                are not those of the first call.
        """
        student, teacher = feature_pair('FAMLoss', student, teacher)
        channels = (student.shape[1], teacher.shape[1])
        if channels != (self.mixing.shape[1], self.mixing.shape[0]):
            raise UserError(
                f'FAMLoss got {channels[0]} student and {channels[1]} teacher channels, but its '
                f'parameters are for {self.mixing.shape[1]} and {self.mixing.shape[0]}'
            )
        size = smaller_size(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            filtered = self._module(resize(student, size))
            return (filtered - resize(teacher, size)).square().mean()

    def _module(self, x: Tensor) -> Tensor:
        """Both branches: (N, C, H, W) to (N, C', H, W)."""
        nodes, mixing, local, bias, (a, b) = (
            parameter.to(x.dtype)
            for parameter in (self.filter, self.mixing, self.local, self.bias, self.branches)
        )
        filtered = filter_globally(x, nodes, self.cutoff)
        return a * _mix(filtered, mixing) + b * (_mix(x, local) + bias[:, None, None])

    def extra_repr(self) -> str:
        return f'cutoff={self.cutoff}, grid={self.grid}'


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    """Mix the channels of ``x`` (N, C, H, W) by ``weight`` (C', C)."""
    return torch.einsum('oc,nchw->nohw', weight, x)
