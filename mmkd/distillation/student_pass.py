"""The student's pass, with its taps recorded."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmkd.distillation.recording import Recording, record
from mmkd.distillation.tap import INPUT_GRADIENT, Tap
from mmkd.errors import UserError
from mmkd.openmmlab.lean_heads import plain_loss
from mmkd.ops.gradient import input_gradient


def run_student(
    student: nn.Module,
    inputs: Tensor,
    data_samples: Sequence,
    taps: list[Tap],
    until_read: bool = False,
) -> tuple[dict[str, Tensor], Recording]:
    """Run the student's loss.

    Args:
        student: The network.
        inputs: Preprocessed images (B, 3, H, W).
        data_samples: Their annotations.
        taps: What to record.
        until_read: Whether the pass may fail once all taps can be read.

    Returns:
        The student's losses, and what ``taps`` recorded of the pass that gave them. The losses are
        empty if the pass failed.

    Raises:
        UserError: ``input_gradient`` is asked of a network that cannot be differentiated twice.
    """
    losses = {}
    if INPUT_GRADIENT not in taps:
        with record(student, taps, until_read=until_read) as recording:
            losses = student(inputs, data_samples, mode='loss')
        return losses, recording
    check_differentiable_twice(student)
    create_graph = torch.is_grad_enabled()
    inputs = inputs.detach().requires_grad_()
    # Only PyTorch's plain attention kernel and the heads' plain losses have a second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), plain_loss(student):
        with record(student, taps) as recording:
            losses = student(inputs, data_samples, mode='loss')
        total, _ = student.parse_losses(losses)
        recording.add(INPUT_GRADIENT.path, input_gradient(total, inputs, create_graph))
    return losses, recording


def check_differentiable_twice(student: nn.Module) -> None:
    """Check that the gradient of the student's input gradient exists.

    Raises:
        UserError: The network has a layer without a second derivative.
    """
    if any(isinstance(m, nn.SyncBatchNorm) for m in student.modules()):
        raise UserError(
            'sync_bn: expected none with the tap input_gradient, because SyncBatchNorm cannot '
            'be differentiated twice; remove sync_bn from the config'
        )
