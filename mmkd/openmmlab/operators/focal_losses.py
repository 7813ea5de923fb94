"""Focal losses, as mmcv's compiled operators define them (Lin et al., ICCV 2017).

Shape letters: N samples, C classes. ``target`` (N,) holds class indices; C, one past the last, is
the background of the sigmoid form. ``weight`` (C,) holds one factor a class, or nothing.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision import ops

from mmkd.ops.precision import at_least_float32

_LEAST = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss (N, C) of logits ``input`` (N, C)."""
    output.copy_(_sigmoid_focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative (N, C) of each loss for its logit."""
    input = input.detach().requires_grad_()
    with torch.enable_grad():
        loss = _sigmoid_focal_loss(input, target, weight, gamma, alpha)
        grad_input.copy_(torch.autograd.grad(loss.sum(), input)[0])


def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss (N,) of probabilities ``softmax`` (N, C); samples of target < 0 have none."""
    p, factor = _of_target(softmax, target, weight)
    output.copy_(-alpha * factor * (1 - p) ** gamma * p.clamp(min=_LEAST).log())


def softmax_focal_loss_backward(
    softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative (N, C) of each sample's loss for the logits behind ``softmax``."""
    p, factor = _of_target(softmax, target, weight)
    rest = 1 - p
    slope = gamma * rest ** (gamma - 1) * p * p.clamp(min=_LEAST).log() - rest**gamma
    buff.copy_(alpha * factor * slope)
    chosen = one_hot(target.clamp(min=0), softmax.size(1))
    grad_input.copy_(buff[:, None] * (chosen - softmax))


def _sigmoid_focal_loss(
    input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    classes = input.size(1)
    (input,) = at_least_float32(input)
    chosen = one_hot(target, classes + 1)[:, :classes].to(input.dtype)
    loss = ops.sigmoid_focal_loss(input, chosen, alpha, gamma)
    return loss * weight[target][:, None] if weight.numel() else loss


def _of_target(softmax: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the target's probability (N,) and its factor (N,), 0 for a target below 0."""
    target, labelled = target.clamp(min=0), target >= 0
    factor = weight[target] if weight.numel() else 1
    return softmax.gather(1, target[:, None])[:, 0], factor * labelled
