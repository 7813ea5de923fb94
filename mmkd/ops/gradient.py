"""How a task's loss answers to the image.

Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.2
(https://arxiv.org/abs/1612.03928). Where a small change of the image changes the loss, the
network "looks".

Shapes: ``N`` images, ``C`` colour channels, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def input_gradient(loss: Tensor, inputs: Tensor, create_graph: bool = False) -> Tensor:
    """The gradient of every image's own loss, at a size that is not the crop's.

    A task's loss is a mean over N images and over pixels, so its gradient at one pixel falls as
    ``1 / (N H W)`` and its norm over an image as ``1 / (N sqrt(H W))``. The gradient is therefore
    that of ``N sqrt(H W) * loss``: its norm over an image stays where it is when the batch or
    the image grows. The factor also keeps half-precision gradients from vanishing.

    Gradients of parameters are not touched, autocast is off meanwhile, and the graph is freed
    unless ``create_graph``.

    Args:
        loss: 0-dim, computed from ``inputs``.
        inputs: (N, C, H, W) that require a gradient.
        create_graph: Whether the result can be differentiated again.

    Returns:
        (N, C, H, W).
    """
    scale = len(inputs) * math.sqrt(inputs.shape[2] * inputs.shape[3])
    with torch.autocast(inputs.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(scale * loss, inputs, create_graph=create_graph)
    return gradient
