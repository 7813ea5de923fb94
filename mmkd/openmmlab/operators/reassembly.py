"""Operators that rearrange features by masks, as mmcv's compiled ones define them.

Shape letters: features (B, C, H, W).
"""

import torch
from torch import Tensor
from torch.nn.functional import unfold

_COLLECT = 0


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write upsampled features, each a weighted sum of its neighbours (Wang et al., CARAFE, 2019).

    Args:
        masks: (B, group_size * kernel_size², scale_factor * H, scale_factor * W), the weights.
        rfeatures: written: the features, which mmcv hands to :func:`carafe_backward`.
    """
    rfeatures.copy_(features)
    output.copy_(_carafe(features, masks, kernel_size, group_size, scale_factor))


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of :func:`carafe_forward` for features and masks."""
    inputs = [x.detach().requires_grad_() for x in (rfeatures, masks)]
    with torch.enable_grad():
        output = _carafe(*inputs, kernel_size, group_size, scale_factor)
        grads = torch.autograd.grad(output, inputs, grad_output)
    grad_input.copy_(grads[0])
    grad_masks.copy_(grads[1])


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write attention over all pixels from masks around each (Zhao et al., PSANet, ECCV 2018).

    Args:
        input: (B, h_mask * w_mask, H, W), each pixel's mask, centred on it.
        output: (B, H * W, H, W), written. Collect (``psa_type`` 0): channel p at pixel q is q's
            weight for p. Distribute (1): channel p at pixel q is p's weight for q.
    """
    index, inside = _mask_index(
        input.device, h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask
    )
    weights = input.flatten(2).gather(1, index.expand(num_, -1, -1)) * inside
    output.copy_((weights if psa_type == _COLLECT else weights.mT).view_as(output))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Add the gradient of :func:`psamask_forward` for its input."""
    index, inside = _mask_index(
        grad_output.device, h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask
    )
    grads = grad_output.flatten(2)
    grads = (grads if psa_type == _COLLECT else grads.mT) * inside
    grad_input.view(num_, h_mask * w_mask, -1).scatter_add_(1, index.expand(num_, -1, -1), grads)


def masked_im2col_forward(
    features: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    data_col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write what a convolution of stride 1 reads for chosen pixels of its output.

    Args:
        features: (1, C, H, W).
        mask_h_idx: (P,), rows of the chosen pixels; ``mask_w_idx``: their columns.
        data_col: (C * kernel_h * kernel_w, P), written.
    """
    columns = unfold(features, (kernel_h, kernel_w), padding=(pad_h, pad_w))[0]
    width = features.size(3) + 2 * pad_w - kernel_w + 1
    data_col.copy_(columns[:, mask_h_idx * width + mask_w_idx])


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write columns ``col`` (C, P) to chosen pixels of an image (1, C, H, W)."""
    im[0, :, mask_h_idx, mask_w_idx] = col


def _carafe(features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int) -> Tensor:
    batch, channels, height, width = features.shape
    near = unfold(features, kernel, padding=kernel // 2)
    near = near.view(batch, groups, channels // groups, kernel**2, height, width)
    weights = masks.view(batch, groups, kernel**2, height, scale, width, scale)
    output = torch.einsum('bgckhw,bgkhiwj->bgchiwj', near, weights)
    return output.reshape(batch, channels, height * scale, width * scale)


def _mask_index(
    device: torch.device,
    height: int,
    width: int,
    mask_height: int,
    mask_width: int,
    half_height: int,
    half_width: int,
) -> tuple[Tensor, Tensor]:
    """Return where pixel q's mask holds its weight for pixel p, and whether it reaches p.

    Returns:
        Both (H * W, H * W), p before q: index in the flattened mask, and bool.
    """
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    row = rows[:, None] - rows + half_height  # (p, q)
    column = columns[:, None] - columns + half_width
    row = row[:, None, :, None].expand(height, width, height, width).flatten(2).flatten(0, 1)
    column = column[None, :, None].expand(height, width, height, width).flatten(2).flatten(0, 1)
    inside = (row >= 0) & (row < mask_height) & (column >= 0) & (column < mask_width)
    return (row * mask_width + column) * inside, inside
