"""Cross-entropy and accuracy of bilinearly upsampled logits, without holding them at full size.

A segmentation head gives logits at a fraction of the label's resolution. The usual loss upsamples
them, takes a log-softmax, and holds both and their gradients at full size. Here every function goes
through a few rows at a time (:mod:`mmkd.ops.row_upsampling`) and gives the same value and gradient,
but for rounding.

Shapes: ``B`` images, ``C`` classes, ``(h, w)`` logits, ``(H, W)`` labels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mmkd.ops.precision import at_least_float32
from mmkd.ops.row_upsampling import plain_arithmetic, sum_over_rows, with_gradient

# Below so many upsampled values, starting the pieces would take longer than the plain path.
_SMALL = 2**20


# A graph break: the compiler would unroll the loop over pieces.
@torch.compiler.disable
def upsampled_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weight: Tensor | None = None,
    ignore_index: int = 255,
    avg_non_ignore: bool = True,
    align_corners: bool = False,
) -> Tensor:
    """Return the mean cross-entropy of ``logits``, upsampled to the size of ``labels``.

    What the mean is over is MMSegmentation's choice:

    * with ``class_weight``, the sum of the weighted losses is divided by the sum of the weights of
      the pixels' classes, as in PyTorch's weighted mean, for both values of ``avg_non_ignore``;
    * without it, the sum is divided by the number of pixels: of those that are not ignored, or,
      with ``avg_non_ignore=False``, of all.

    Without one pixel that counts, value and gradient are 0.

    Computed in float32, or in float64 where the logits are, also under autocast. It can be
    differentiated once; :func:`upsampled_cross_entropy_reference` can be twice.

    Args:
        logits: (B, C, h, w).
        labels: class ids (B, H, W), int64.
        class_weight: (C,).
        ignore_index: label of the pixels to leave out.
        avg_non_ignore: whether the mean leaves out the ignored pixels.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-dim.

    Raises:
        RuntimeError: a label is neither a class nor ``ignore_index`` (on a CPU).
    """
    if labels.numel() * logits.shape[1] <= _SMALL:
        return upsampled_cross_entropy_reference(
            logits, labels, class_weight, ignore_index, avg_non_ignore, align_corners
        )
    (maps,) = at_least_float32(logits)
    if class_weight is not None:
        class_weight = class_weight.to(maps)
    needs_gradient = logits.requires_grad and torch.is_grad_enabled()

    def piece_loss(n: int, rows: slice, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        target = labels[n, rows][:, None]
        ignored = target == ignore_index
        # On a GPU the question would make the host wait.
        any_ignored = pixels.is_cuda or bool(ignored.any())
        if any_ignored:
            target = target.masked_fill(ignored, 0)
        weight = None if class_weight is None else class_weight[target]
        if any_ignored:
            weight = (~ignored).to(pixels) if weight is None else weight.masked_fill(ignored, 0)
        log_probability = pixels.log_softmax(1)
        chosen = log_probability.gather(1, target)
        value = -chosen.sum() if weight is None else -(chosen * weight).sum()
        if not needs_gradient:
            return value, None
        gradient = log_probability.exp_().scatter_(1, target, chosen.expm1())
        return value, gradient if weight is None else gradient.mul_(weight)

    with plain_arithmetic(logits.device):
        total, gradient = sum_over_rows(
            piece_loss, maps, tuple(labels.shape[1:]), align_corners, needs_gradient
        )
        count = _count(labels, class_weight, ignore_index, avg_non_ignore, maps.dtype)
        value = total / count
        if needs_gradient:
            gradient /= count
    return with_gradient(value, logits, gradient)


def upsampled_cross_entropy_reference(
    logits: Tensor,
    labels: Tensor,
    class_weight: Tensor | None = None,
    ignore_index: int = 255,
    avg_non_ignore: bool = True,
    align_corners: bool = False,
) -> Tensor:
    """Return :func:`upsampled_cross_entropy` by the definition, at full size."""
    (maps,) = at_least_float32(logits)
    if class_weight is not None:
        class_weight = class_weight.to(maps)
    with torch.autocast(logits.device.type, enabled=False):
        maps = functional.interpolate(
            maps, labels.shape[1:], mode='bilinear', align_corners=align_corners
        )
        total = functional.cross_entropy(
            maps, labels, class_weight, ignore_index=ignore_index, reduction='sum'
        )
        return total / _count(labels, class_weight, ignore_index, avg_non_ignore, maps.dtype)


@torch.compiler.disable
def upsampled_accuracy(
    logits: Tensor, labels: Tensor, ignore_index: int = 255, align_corners: bool = False
) -> Tensor:
    """Return the share of pixels whose label has the largest upsampled logit, as MMSegmentation's
    ``accuracy`` does.

    Args:
        logits: (B, C, h, w).
        labels: class ids (B, H, W).
        ignore_index: label of the pixels to leave out.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        (1,), in percent; 100 without a pixel that counts.
    """

    def count_correct(n: int, rows: slice, pixels: Tensor) -> tuple[Tensor, None]:
        target = labels[n, rows]
        return ((pixels.argmax(1) == target) & (target != ignore_index)).sum(), None

    with plain_arithmetic(logits.device):
        correct, _ = sum_over_rows(
            count_correct, *at_least_float32(logits), tuple(labels.shape[1:]), align_corners, False
        )
        eps = torch.finfo(torch.float32).eps
        counted = (labels != ignore_index).sum()
        return ((correct + eps) * (100 / (counted + eps)))[None]


def _count(
    labels: Tensor,
    class_weight: Tensor | None,
    ignore_index: int,
    avg_non_ignore: bool,
    dtype: torch.dtype,
) -> Tensor:
    """What the sum is divided by, as a 0-dim tensor above 0."""
    counted = labels != ignore_index
    if class_weight is not None:
        count = class_weight[labels.masked_fill(~counted, 0)].mul(counted).sum()
    elif avg_non_ignore:
        count = counted.sum()
    else:
        count = torch.tensor(labels.numel(), device=labels.device)
    return count.to(dtype) + torch.finfo(torch.float32).eps
