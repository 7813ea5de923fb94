"""The steps of mmcv's synchronised batch normalisation (``MMSyncBN``), which mmcv reduces between.

Shape letters: input and output (B, C, L), the pixels in one axis; all else (C,).
"""

from torch import Tensor


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Write the mean of each channel in this process."""
    mean.copy_(input.float().mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Write the mean square about ``mean``, which is that of all processes."""
    var.copy_((input.float() - mean[:, None]).square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float,
    group_size: int,
) -> None:
    """Write the output, the normalised input and its deviation; update the running statistics."""
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    output.copy_(norm * weight[:, None] + bias[:, None])
    count = input[:, 0].numel() * group_size
    running_mean.lerp_(mean, float(momentum))
    running_var.lerp_(var * count / max(count - 1, 1), float(momentum))


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Write this process's gradients for weight and bias."""
    grad_weight.copy_((grad_output * norm).sum((0, 2)))
    grad_bias.copy_(grad_output.sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Write the gradient for the input, from gradients for weight and bias of all processes."""
    count = norm[:, 0].numel()
    common = (norm * grad_weight[:, None] + grad_bias[:, None]) / count
    grad_input.copy_((grad_output - common) * (weight / std)[:, None])
