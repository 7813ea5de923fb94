"""Deformable convolution and attention, as mmcv's compiled operators define them.

Shape letters: input (B, C, H, W), output (B, D, h, w), weight (D, C / groups, kh, kw). Offsets
(B, 2 * deform_groups * kh * kw, h, w) are in pixels, y before x. Masks are (B, deform_groups * kh *
kw, h, w). ``geometry`` is the keywords with which mmcv gives stride, padding, dilation and groups.
"""

import torch
from torch import Tensor
from torchvision import ops  # noqa: F401  (registers torch.ops.torchvision)

from mmkd.ops.precision import at_least_float32

# mmcv's keywords in the order of torchvision's arguments, for version 1 and version 2.
_KEYS = ('dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW', 'group', 'deformable_group')
_MODULATED_KEYS = (
    *('stride_h', 'stride_w', 'pad_h', 'pad_w', 'dilation_h', 'dilation_w'),
    *('group', 'deformable_group'),
)


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Write a convolution at shifted places (Dai et al., Deformable ConvNets, ICCV 2017)."""
    input, weight, offset = at_least_float32(input, weight, offset)
    output.copy_(
        torch.ops.torchvision.deform_conv2d(
            *(input, weight, offset, *_no_mask_and_bias(input, weight)),
            *(geometry[key] for key in _KEYS),
            False,
        )
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Write the gradients for input and offset, and keep the weight's in ``columns``.

    torchvision computes all gradients at once. mmcv asks for the weight's in a second call, with
    the same work buffer ``columns``.
    """
    grads = _deform_conv_gradients(grad_output, input, weight, offset, geometry)
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])
    columns.set_(grads[1].to(columns.dtype))


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Add ``scale`` times the gradient for the weight."""
    if columns.shape != grad_weight.shape:  # neither input nor offset needed a gradient
        # The gradient for the weight does not depend on the weight's values.
        grads = _deform_conv_gradients(grad_output, input, grad_weight, offset, geometry)
        columns = grads[1]
    grad_weight.add_(columns, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Write a convolution at shifted, weighted places (Zhu et al., Deformable v2, CVPR 2019)."""
    input, weight, bias, offset, mask = at_least_float32(input, weight, bias, offset, mask)
    output.copy_(
        torch.ops.torchvision.deform_conv2d(
            *(input, weight, offset, mask, bias if with_bias else weight.new_zeros(len(weight))),
            *(geometry[key] for key in _MODULATED_KEYS),
            True,
        )
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Write the gradients of :func:`modulated_deform_conv_forward`."""
    grad_output, input, weight = at_least_float32(grad_output, input, weight)
    bias, offset, mask = at_least_float32(bias, offset, mask)
    grads = torch.ops.torchvision._deform_conv2d_backward(
        *(grad_output, input, weight, offset, mask),
        bias if with_bias else weight.new_zeros(len(weight)),
        *(geometry[key] for key in _MODULATED_KEYS),
        True,
    )
    buffers = [grad_input, grad_weight, grad_offset, grad_mask]
    for buffer, grad in zip([*buffers, grad_bias] if with_bias else buffers, grads, strict=False):
        buffer.copy_(grad)


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Return multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021).

    mmcv's own form in PyTorch, which it uses on CPUs, computes it. The shapes are described there.
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(
        value, value_spatial_shapes, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of :func:`ms_deform_attn_forward`."""
    inputs = [x.detach().requires_grad_() for x in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            inputs[0], value_spatial_shapes, value_level_start_index, *inputs[1:], im2col_step
        )
        grads = torch.autograd.grad(output, inputs, grad_output)
    for buffer, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        buffer.copy_(grad)


def _deform_conv_gradients(
    grad_output: Tensor, input: Tensor, weight: Tensor, offset: Tensor, geometry: dict[str, int]
) -> tuple[Tensor, ...]:
    """Return the gradients for input, weight and offset, and two that do not count."""
    grad_output, input, weight, offset = at_least_float32(grad_output, input, weight, offset)
    return torch.ops.torchvision._deform_conv2d_backward(
        *(grad_output, input, weight, offset, *_no_mask_and_bias(input, weight)),
        *(geometry[key] for key in _KEYS),
        False,
    )


def _no_mask_and_bias(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return what torchvision's operators take without a mask and a bias."""
    return input.new_zeros(len(input), 1), weight.new_zeros(len(weight))
