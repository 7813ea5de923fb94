"""What an attention tap reads of VMamba: the selective scan of a block, not yet run.

Shapes: ``B`` samples, ``K`` channels of the four paths together, ``N`` states of a channel, ``L``
positions along a path of :mod:`mmkd.ops.cross_scan`.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class ScanInputs:
    """What decides where a scan along four paths draws from, which its input does not.

    Attributes:
        delta: Step sizes before bias and softplus, (B, K, L).
        A: Rates, (K, N), negative.
        B: Input weights, (B, 4, N, L).
        C: Output weights, (B, 4, N, L).
        delta_bias: Added to ``delta``, (K,).
        grid: (height, width) of the image.
    """

    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    delta_bias: Tensor
    grid: tuple[int, int]

    def steps(self) -> Tensor:
        """Step sizes (B, K, L), positive."""
        return functional.softplus(self.delta + self.delta_bias[:, None])

    def detach(self) -> ScanInputs:
        """The same without a gradient."""
        return self._each(Tensor.detach)

    def to(self, dtype: torch.dtype) -> ScanInputs:
        """The same in another type."""
        return self._each(lambda x: x.to(dtype))

    def _each(self, change) -> ScanInputs:
        names = ('delta', 'A', 'B', 'C', 'delta_bias')
        return dataclasses.replace(self, **{n: change(getattr(self, n)) for n in names})
