"""Pooling of regions of interest, as mmcv's compiled operators define it.

Shape letters: input (B, C, H, W), R regions, output (R, C, height, width) of pooled bins. A region
is (index in the batch, x1, y1, x2, y2), the corners in pixels of the image. ``spatial_scale``
brings them to the input's grid.
"""

import math

import torch
from torch import Tensor
from torchvision import ops  # noqa: F401  (registers torch.ops.torchvision)

from mmkd.errors import UserError
from mmkd.ops.precision import at_least_float32

_AVERAGE = 1


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the mean of bilinear samples of each bin (He et al., Mask R-CNN, ICCV 2017).

    Raises:
        UserError: ``pool_mode`` is the maximum, which torchvision does not have.
    """
    if pool_mode != _AVERAGE:
        raise UserError(
            "mmcv.ops.roi_align: pool_mode='max' needs mmcv's compiled operators; use pool_mode="
            "'avg', or run 'MMKD_COMPILE=1 make env'"
        )
    size = (aligned_height, aligned_width)
    input, rois = at_least_float32(input, rois)
    output.copy_(
        torch.ops.torchvision.roi_align(input, rois, spatial_scale, *size, sampling_ratio, aligned)
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of :func:`roi_align_forward` for its input."""
    size = (aligned_height, aligned_width)
    grad_output, rois = at_least_float32(grad_output, rois)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output, rois, spatial_scale, *size, *grad_input.shape, sampling_ratio, aligned
        )
    )


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the maximum of each bin (Girshick, Fast R-CNN, ICCV 2015) and where it lies.

    torchvision's ``roi_pool`` rounds a region to whole pixels. mmcv's does not: a region goes from
    ``x1 * spatial_scale`` to ``(x2 + 1) * spatial_scale``, and a bin covers each pixel it touches.

    Args:
        argmax: written: index of the maximum in the flattened (H, W), -1 for an empty bin.
    """
    height, width = input.shape[-2:]
    output.zero_()
    argmax.fill_(-1)
    for r, (index, x1, y1, x2, y2) in enumerate(rois.tolist()):
        rows = _bins(y1 * spatial_scale, (y2 + 1) * spatial_scale, pooled_height, height)
        columns = _bins(x1 * spatial_scale, (x2 + 1) * spatial_scale, pooled_width, width)
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                if bottom <= top or right <= left:
                    continue
                values = input[int(index), :, top:bottom, left:right].flatten(1)
                output[r, :, i, j], at = values.max(1)
                row, column = at // (right - left), at % (right - left)
                argmax[r, :, i, j] = ((top + row) * width + left + column).to(argmax.dtype)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add each bin's gradient to the pixel that was its maximum."""
    found = argmax >= 0
    grads = (grad_output * found).flatten(2)
    places = argmax.clamp(min=0).long().flatten(2)
    flat = grad_input.flatten(2)  # a view: mmcv's gradient buffer is contiguous
    for r, index in enumerate(rois[:, 0].long().tolist()):
        flat[index].scatter_add_(1, places[r], grads[r])


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the mean of samples of each bin, shifted bins included (Dai et al., ICCV 2017).

    Args:
        offset: (R, 2, pooled_height, pooled_width), shifts (x, y) of the bins in parts of ``gamma``
            times the region's size; empty for none.
        sampling_ratio: samples of a bin along each axis; 0 takes as many as it has pixels.
    """
    size = (pooled_height, pooled_width)
    input, rois, offset = at_least_float32(input, rois, offset)
    output.copy_(_deform_roi_pool(input, rois, offset, size, spatial_scale, sampling_ratio, gamma))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the gradients of :func:`deform_roi_pool_forward` for input and offset."""
    grad_output, rois, input, offset = at_least_float32(grad_output, rois, input, offset)
    inputs = [x.detach().requires_grad_() for x in (input, offset)]
    size = (pooled_height, pooled_width)
    with torch.enable_grad():
        output = _deform_roi_pool(
            inputs[0], rois, inputs[1], size, spatial_scale, sampling_ratio, gamma
        )
        grads = torch.autograd.grad(output, inputs, grad_output, allow_unused=True)
    for buffer, grad in zip((grad_input, grad_offset), grads, strict=True):
        if grad is not None:
            buffer.copy_(grad)


def _deform_roi_pool(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    size: tuple[int, int],
    scale: float,
    ratio: int,
    gamma: float,
) -> Tensor:
    pooled = [input.new_zeros(0, input.size(1), *size)]
    bins = rois.new_tensor(size)
    for r, (index, *corners) in enumerate(rois):
        # The centre of a pixel lies at its whole coordinates: half a pixel less than the corner's.
        start = torch.stack(corners[1::-1]) * scale - 0.5  # (y, x)
        extent = torch.stack(corners[:1:-1]) * scale - 0.5 - start
        counts = [ratio or max(math.ceil(part), 0) for part in (extent / bins).tolist()]
        places = []
        for axis in range(2):
            steps = torch.arange(size[axis] * counts[axis], device=rois.device) + 0.5
            along = start[axis] + steps * extent[axis] / max(len(steps), 1)
            # To (bin row, bin column, sample row, sample column).
            along = along.view(size[axis], counts[axis])
            along = along[:, None, :, None] if axis == 0 else along[None, :, None]
            if offset.numel():
                along = along + (gamma * extent[axis] * offset[r, 1 - axis])[..., None, None]
            places.append(along)
        samples = _sample(input[int(index)], *torch.broadcast_tensors(*places))
        pooled.append(samples.sum((-2, -1))[None] / max(counts[0] * counts[1], 1))
    return torch.cat(pooled)


def _sample(features: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return bilinear samples (C, ...) of features (C, H, W) at places (...).

    A place up to one pixel outside takes the border's value; one further out is 0.
    """
    height, width = features.shape[1:]
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.detach().long(), x.detach().long()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    down, across = y - top, x - left
    upper = features[:, top, left] * (1 - across) + features[:, top, right] * across
    lower = features[:, bottom, left] * (1 - across) + features[:, bottom, right] * across
    return (upper * (1 - down) + lower * down) * inside


def _bins(start: float, end: float, count: int, size: int) -> list[tuple[int, int]]:
    """Return the pixels [first, last) that each of ``count`` equal bins touches."""
    if end <= start:
        return [(0, 0)] * count
    step = (end - start) / count
    edges = (
        (math.floor(start + i * step), math.ceil(start + (i + 1) * step)) for i in range(count)
    )
    return [(min(max(a, 0), size), min(max(b, 0), size)) for a, b in edges]
