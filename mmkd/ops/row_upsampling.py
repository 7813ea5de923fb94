"""Losses of bilinearly upsampled maps, a few rows at a time: nothing of full size is held.

Bilinear upsampling is separable. :class:`RowUpsampler` widens the ``h`` rows of a map to ``W``
columns once. Every upsampled row is then a weighted sum of two widened rows, so one matrix product
makes several rows, and the transposed product takes their gradient back.

A loss that is a sum over upsampled pixels is computed piece by piece, together with its gradient,
while the piece is in the cache. :func:`with_gradient` puts the known gradient into autograd's
graph.

Shapes: ``B`` images, ``C`` channels, ``(h, w)`` the map, ``(H, W)`` the upsampled map, ``R`` rows
of one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from mmkd.errors import UserError

# Values of one piece. On a CPU a piece and its gradient fit the second-level cache; a GPU needs
# large pieces to be busy.
_CPU_PIECE, _GPU_PIECE = 2**18, 2**24
_WHOLE = ('none', 'ieee')  # fp32_precision of products that are not shortened

PieceLoss = Callable[[int, slice, Tensor], tuple[Tensor, Tensor | None]]
"""``(n, rows, pixels) -> (sum, gradient)``: the loss of rows (R, C, W) of image ``n``, summed, and
its gradient with respect to them, or None if no gradient is needed."""


class RowUpsampler:
    """Upsample maps (C, h, w) to (C, H, W) bilinearly, some rows at a time.

    Args:
        source: (h, w).
        target: (H, W); a side may also be smaller than the source's.
        align_corners: as in ``torch.nn.functional.interpolate``.
        like: a tensor of the maps' type and device.
    """

    def __init__(
        self, source: tuple[int, int], target: tuple[int, int], align_corners: bool, like: Tensor
    ) -> None:
        (self.height, self.width), (self.out_height, self.out_width) = source, target
        self.align_corners = align_corners
        self.weights: Tensor | None = None  # (H, h)
        if self.height != self.out_height:
            unit = torch.eye(self.height, dtype=like.dtype)
            weights = self._interpolate(unit[None], self.out_height)[0].T.contiguous()
            used = weights != 0
            # The first and the last source row of every upsampled row.
            self._first = used.int().argmax(1).tolist()
            self._last = (self.height - 1 - used.flip(1).int().argmax(1)).tolist()
            self.weights = weights.to(like.device)

    def pieces(self, channels: int) -> list[slice]:
        """Return slices that divide the H rows into pieces of a size that the device likes."""
        on_cpu = self.weights is None or self.weights.device.type == 'cpu'
        rows = (_CPU_PIECE if on_cpu else _GPU_PIECE) // (channels * self.out_width)
        starts = range(0, self.out_height, max(1, rows))
        return [slice(i, min(i + starts.step, self.out_height)) for i in starts]

    def widen(self, image: Tensor) -> Tensor:
        """Return (h, C, W) of an image (C, h, w)."""
        image = image.transpose(0, 1)
        if self.width == self.out_width:
            return image.contiguous()
        return self._interpolate(image, self.out_width)

    def rows(self, wide: Tensor, rows: slice) -> Tensor:
        """Return rows (R, C, W) of the upsampled map, of its widened one."""
        if self.weights is None:
            return wide[rows]
        sources = self._sources(rows)
        made = self.weights[rows, sources] @ wide[sources].flatten(1)
        return made.view(-1, *wide.shape[1:])

    def add_gradient(self, wide_gradient: Tensor, gradient: Tensor, rows: slice) -> None:
        """Add to ``wide_gradient`` (h, C, W) the ``gradient`` (R, C, W) of some rows."""
        if self.weights is None:
            wide_gradient[rows] += gradient
            return
        sources = self._sources(rows)
        weights = self.weights[rows, sources].T
        wide_gradient[sources].view(len(weights), -1).addmm_(weights, gradient.flatten(1))

    def narrow(self, wide_gradient: Tensor) -> Tensor:
        """Return the gradient (C, h, w) of an image of that of its widened rows."""
        if self.width != self.out_width:
            shape = [*wide_gradient.shape[:2], self.width]
            wide_gradient = torch.ops.aten.upsample_linear1d_backward(
                wide_gradient, [self.out_width], shape, self.align_corners
            )
        return wide_gradient.transpose(0, 1)

    def _sources(self, rows: slice) -> slice:
        return slice(self._first[rows.start], self._last[rows.stop - 1] + 1)

    def _interpolate(self, x: Tensor, size: int) -> Tensor:
        return functional.interpolate(x, size, mode='linear', align_corners=self.align_corners)


def sum_over_rows(
    piece_loss: PieceLoss,
    maps: Tensor,
    size: tuple[int, int],
    align_corners: bool,
    needs_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Sum a loss over the pixels of upsampled ``maps``, piece by piece.

    Args:
        piece_loss: the loss of one piece.
        maps: (B, C, h, w) in float32 or float64.
        size: (H, W).
        align_corners: as in ``torch.nn.functional.interpolate``.
        needs_gradient: whether to take the gradient too.

    Returns:
        The sum (0-dim), and its gradient (B, C, h, w) with respect to ``maps``, or None.
    """
    upsampler = RowUpsampler(tuple(maps.shape[2:]), size, align_corners, maps)
    sums, gradients = [], []
    for n, image in enumerate(maps):
        wide = upsampler.widen(image)
        wide_gradient = torch.zeros_like(wide) if needs_gradient else None
        for rows in upsampler.pieces(maps.shape[1]):
            value, gradient = piece_loss(n, rows, upsampler.rows(wide, rows))
            sums.append(value)
            if gradient is not None:
                upsampler.add_gradient(wide_gradient, gradient, rows)
        if needs_gradient:
            gradients.append(upsampler.narrow(wide_gradient))
    return torch.stack(sums).sum(), torch.stack(gradients) if needs_gradient else None


def with_gradient(value: Tensor, maps: Tensor, gradient: Tensor | None) -> Tensor:
    """Return ``value`` (0-dim), whose derivative with respect to ``maps`` is ``gradient``.

    Raises:
        UserError: in the backward pass, if a second derivative is asked for.
    """
    return value if gradient is None else _KnownGradient.apply(maps, value, gradient)


@contextmanager
def plain_arithmetic(device: torch.device) -> Iterator[None]:
    """Compute the body without autograd, autocast and shortened (TF32, bfloat16) products."""
    try:
        precision, backends = torch.get_float32_matmul_precision(), ()
    except RuntimeError:  # set in the newer way (PyTorch 2.9), which does not mix with it
        precision = 'highest'
        backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    shortened = [(b, b.fp32_precision) for b in backends if b.fp32_precision not in _WHOLE]
    if precision != 'highest':
        torch.set_float32_matmul_precision('highest')
    for backend, _ in shortened:
        backend.fp32_precision = 'ieee'
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        if precision != 'highest':
            torch.set_float32_matmul_precision(precision)
        for backend, before in shortened:
            backend.fp32_precision = before


class _KnownGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, maps: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(maps, gradient)
        return value.clone()

    @staticmethod
    def backward(ctx, factor: Tensor) -> tuple[Tensor, None, None]:
        maps, gradient = ctx.saved_tensors
        gradient = (factor * gradient).to(maps.dtype)
        # Pass the maps on, so that a second derivative reaches the function that refuses it.
        return _RefuseSecondDerivative.apply(gradient, maps), None, None


class _RefuseSecondDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gradient: Tensor, maps: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx, _: Tensor) -> None:
        raise UserError(
            'a loss computed by rows has no second derivative; use its reference, '
            'as mmkd.openmmlab.lean_heads.plain_loss does for the heads of a model'
        )
