"""The precision in which losses and operators compute."""

import torch
from torch import Tensor


def at_least_float32(*tensors: Tensor) -> list[Tensor]:
    """Return tensors of half precision in float32, and others as they are.

    torchvision 0.26's kernels do not have bfloat16, and some do not have float16. bfloat16 rounds
    places near 500 pixels to multiples of 2.
    """
    return [x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]
