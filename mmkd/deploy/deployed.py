"""A trained network as one function of images: what an exported file computes.

Shapes: ``N`` images, ``H`` rows, ``W`` columns, ``K`` classes, ``A`` candidate boxes.
"""

import copy

import torch
from mmdet.models import RetinaHead, SingleStageDetector
from mmengine.model import revert_sync_batchnorm
from mmseg.models import BaseSegmentor
from torch import Tensor, nn
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.models.vmamba import FourPathScan
from mmkd.preprocessing import Preprocessing


class Deployed(nn.Module):
    """Images in, and out of them what the network says of every pixel or of every candidate.

    Args:
        network: a copy of it is taken, in eval mode.
        preprocessing: what becomes part of the function: images are then (N, H, W, 3), uint8, BGR,
            as OpenCV reads them. Without it they are (N, 3, H, W), float32, preprocessed.
    """

    outputs: tuple[str, ...]

    def __init__(self, network: nn.Module, preprocessing: Preprocessing | None) -> None:
        super().__init__()
        self.network = _exportable(network)
        self.preprocesses = preprocessing is not None
        if preprocessing is not None:
            self.rgb = preprocessing.rgb
            for name in ('mean', 'std'):
                values = torch.tensor(getattr(preprocessing, name)).view(1, 3, 1, 1)
                self.register_buffer(name, values)

    def preprocess(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) as the network wants it."""
        if not self.preprocesses:
            return images
        images = images.permute(0, 3, 1, 2).float()
        if self.rgb:
            images = images.flip(1)
        return (images - self.mean) / self.std


class DeployedSegmentor(Deployed):
    """``logits`` (N, K, H, W), or ``labels`` (N, H, W), uint8, at the size of the images.

    Raises:
        UserError: the network is meant to slide over an image.
    """

    def __init__(
        self, network: BaseSegmentor, preprocessing: Preprocessing | None, argmax: bool = False
    ) -> None:
        mode = network.test_cfg.get('mode', 'whole')
        if mode != 'whole':
            raise UserError(f"model.test_cfg.mode={mode!r}; an export needs 'whole'")
        super().__init__(network, preprocessing)
        self.argmax = argmax
        self.outputs = ('labels',) if argmax else ('logits',)

    def forward(self, images: Tensor) -> Tensor:
        images = self.preprocess(images)
        logits = functional.interpolate(
            self.network(images, mode='tensor'),
            size=images.shape[-2:],
            mode='bilinear',
            align_corners=self.network.align_corners,
        )
        if not self.argmax:
            return logits
        if logits.shape[1] == 1:
            return (logits[:, 0].sigmoid() > self.network.decode_head.threshold).to(torch.uint8)
        return logits.argmax(1).to(torch.uint8)


class DeployedDetector(Deployed):
    """``boxes`` (N, A, 4), x1 y1 x2 y2 in pixels, and ``scores`` (N, A, K) of all candidates.

    What is left to do outside is a threshold and non-maximum suppression.

    Raises:
        UserError: the detector's head cannot be exported.
    """

    outputs = ('boxes', 'scores')

    def __init__(self, network: nn.Module, preprocessing: Preprocessing | None) -> None:
        head = getattr(network, 'bbox_head', None)
        known = isinstance(head, RetinaHead) and head.use_sigmoid_cls or hasattr(head, 'decode')
        if not isinstance(network, SingleStageDetector) or not known:
            raise UserError(
                f'model.type={type(network).__name__} with bbox_head.type={type(head).__name__} '
                'cannot be exported; allowed: single-stage detectors with RetinaHead or YOLO11Head'
            )
        super().__init__(network, preprocessing)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores, boxes = self.network(self.preprocess(images), mode='tensor')
        head = self.network.bbox_head
        decoded = head.decode(boxes) if hasattr(head, 'decode') else _decode_anchors(head, boxes)
        return decoded, _flatten(scores, head.cls_out_channels).sigmoid()


def deployed(
    network: nn.Module, preprocessing: Preprocessing | None = None, argmax: bool = False
) -> Deployed:
    """The function that a segmentor or a detector computes, see the classes of this module.

    Args:
        network: any of MMSegmentation's segmentors, or a single-stage detector of MMDetection.
        preprocessing: see :class:`Deployed`.
        argmax: whether a segmentor yields labels.

    Raises:
        UserError: the network cannot be exported in this way.
    """
    if isinstance(network, BaseSegmentor):
        return DeployedSegmentor(network, preprocessing, argmax)
    if argmax:
        raise UserError(f'--argmax is for segmentors; model.type={type(network).__name__}')
    return DeployedDetector(network, preprocessing)


def _decode_anchors(head: RetinaHead, levels: list[Tensor]) -> Tensor:
    """Boxes (N, A, 4) of an anchor head's box deltas, (N, anchors * 4, H, W) a level."""
    sizes = [level.shape[-2:] for level in levels]
    anchors = torch.cat(head.prior_generator.grid_priors(sizes, device=levels[0].device))
    deltas = _flatten(levels, head.bbox_coder.encode_size)
    return head.bbox_coder.decode(anchors.expand(len(deltas), -1, -1), deltas)


def _flatten(levels: list[Tensor], channels: int) -> Tensor:
    """(N, anchors * channels, H, W) a level to (N, A, channels)."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, channels) for x in levels], 1)


class _BinAveragePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products, which ONNX has for every image size."""

    def __init__(self, size: int | tuple[int, int]) -> None:
        super().__init__()
        self.rows, self.columns = (size, size) if isinstance(size, int) else size

    def forward(self, x: Tensor) -> Tensor:
        rows = self._bins(x.shape[-2], self.rows, x)
        return rows @ x @ self._bins(x.shape[-1], self.columns, x).T

    def _bins(self, size: int, bins: int, x: Tensor) -> Tensor:
        """(bins, size): row b is the mean of floor(b size / bins) .. ceil((b + 1) size / bins)."""
        b = torch.arange(bins, device=x.device)[:, None]
        i = torch.arange(size, device=x.device)[None, :]
        member = (i >= b * size // bins) & (i < ((b + 1) * size + bins - 1) // bins)
        weights = member.to(x.dtype)
        return weights / weights.sum(1, keepdim=True)


def _exportable(network: nn.Module) -> nn.Module:
    """A copy in eval mode, without heads that only train and layers that no export takes."""
    network = revert_sync_batchnorm(copy.deepcopy(network)).eval().requires_grad_(False)
    if isinstance(network, BaseSegmentor) and network.with_auxiliary_head:
        network.auxiliary_head = None
    for module in list(network.modules()):
        if isinstance(module, FourPathScan):
            module.backend = 'doubling'
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                setattr(module, name, _BinAveragePool(child.output_size))
    return network
