"""The gradient of a task loss with respect to the image.

Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.2
(https://arxiv.org/abs/1612.03928). A network "looks" where a small change of the image changes the
loss.

Shapes: see :mod:`mmkd.ops`; ``C`` counts colour channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def input_gradient(loss: Tensor, inputs: Tensor, create_graph: bool = False) -> Tensor:
    """Return the gradient of the loss for every image, scaled to be independent of size.

    A task loss is a mean over B images and over pixels. Its gradient at one pixel is proportional
    to ``1 / (B H W)``, and the norm over an image to ``1 / (B sqrt(H W))``. This function returns
    the gradient of ``B sqrt(H W) * loss``, so the norm does not change with batch or image size.
    The factor also keeps half-precision gradients from underflowing.

    Gradients of parameters are not touched. Autocast is off during the call. The graph is freed
    unless ``create_graph`` is set.

    Args:
        loss: 0-dim, computed from ``inputs``.
        inputs: (B, C, H, W), requires a gradient.
        create_graph: Whether the result can be differentiated again.

    Returns:
        (B, C, H, W).
    """
    scale = len(inputs) * math.sqrt(inputs.shape[2] * inputs.shape[3])
    with torch.autocast(inputs.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(scale * loss, inputs, create_graph=create_graph)
    return gradient
