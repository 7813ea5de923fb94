"""Mixed precision on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmkd.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Compute the losses under bfloat16 autocast on a CPU; MMEngine's ``AmpOptimWrapper`` cannot.

    Weights, their gradients and the optimizer stay in float32, and so do mmkd's losses. bfloat16
    has float32's range, so gradients are not scaled. Validation runs in float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run what is inside in bfloat16, and sync gradients as ``OptimWrapper`` does."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
