"""A trained network as one function of images, which an exported file computes.

Shapes: see :mod:`mmkd.ops`; ``K`` classes, ``A`` candidate boxes.
"""

import copy

import torch
from mmdet.models import RetinaHead, SingleStageDetector
from mmengine.model import revert_sync_batchnorm
from mmseg.models import BaseSegmentor
from mmseg.models.decode_heads import Mask2FormerHead, MaskFormerHead, PointHead
from torch import Tensor, nn
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.models.vmamba import FourPathScan
from mmkd.openmmlab.preprocessing import Preprocessing
from mmkd.openmmlab.tasks import (
    image_channels,
    is_classifier,
    is_segmentor,
    segmentation_head,
)


class ExportModel(nn.Module):
    """A function from images to predictions for every image, pixel or candidate box.

    Args:
        network: It is copied, in eval mode.
        preprocessing: Becomes part of the function. Images are then (B, H, W, 3), uint8, BGR, as
            OpenCV loads them. Without it they are preprocessed (B, 3, H, W), float32.
    """

    outputs: tuple[str, ...]

    def __init__(self, network: nn.Module, preprocessing: Preprocessing | None) -> None:
        super().__init__()
        self.network = _exportable(network)
        self.preprocesses = preprocessing is not None
        self.channels = image_channels(self.network)
        if self.preprocesses and self.channels != 3:
            raise UserError(
                f'--preprocess: expected a network of three channels, not {self.channels}; leave '
                'it out and preprocess outside of the file'
            )
        if preprocessing is not None:
            self.rgb = preprocessing.rgb
            for name in ('mean', 'std'):
                values = torch.tensor(getattr(preprocessing, name)).view(1, 3, 1, 1)
                self.register_buffer(name, values)

    def preprocess(self, images: Tensor) -> Tensor:
        """Return (B, 3, H, W) in the form that the network takes."""
        if not self.preprocesses:
            return images
        images = images.permute(0, 3, 1, 2).float()
        if self.rgb:
            images = images.flip(1)
        return (images - self.mean) / self.std


class DeployedSegmentor(ExportModel):
    """Return ``logits`` (B, K, H, W), or ``labels`` (B, H, W), at the size of the images.

    Labels are uint8, or int32 if there are more than 256 classes.

    Raises:
        UserError: The network's test mode slides over an image, or its head does not return a map.
    """

    def __init__(
        self, network: BaseSegmentor, preprocessing: Preprocessing | None, argmax: bool = False
    ) -> None:
        head = segmentation_head(network)
        if isinstance(head, Mask2FormerHead | MaskFormerHead | PointHead):
            raise UserError(
                f'decode_head.type={type(head).__name__}: expected a head that returns a map of '
                'logits, such as SegformerHead; distil into a student with such a head'
            )
        mode = network.test_cfg.get('mode', 'whole')
        if mode != 'whole':
            raise UserError(f"model.test_cfg.mode={mode!r}: expected 'whole' for an export")
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
            threshold = segmentation_head(self.network).threshold
            return (logits[:, 0].sigmoid() > threshold).to(torch.uint8)
        return logits.argmax(1).to(torch.uint8 if logits.shape[1] <= 256 else torch.int32)


class DeployedDetector(ExportModel):
    """Return ``boxes`` (B, A, 4), x1 y1 x2 y2 in pixels, and ``scores`` (B, A, K).

    The caller applies a score threshold and non-maximum suppression.

    Raises:
        UserError: The detector's head cannot be exported.
    """

    outputs = ('boxes', 'scores')

    def __init__(self, network: nn.Module, preprocessing: Preprocessing | None) -> None:
        head = getattr(network, 'bbox_head', None)
        known = isinstance(head, RetinaHead) and head.use_sigmoid_cls or hasattr(head, 'decode')
        if not isinstance(network, SingleStageDetector) or not known:
            raise UserError(
                f'model.type={type(network).__name__}, bbox_head.type={type(head).__name__}: '
                'expected a single-stage detector with RetinaHead or YOLO11Head'
            )
        super().__init__(network, preprocessing)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores, boxes = self.network(self.preprocess(images), mode='tensor')
        head = self.network.bbox_head
        decoded = head.decode(boxes) if hasattr(head, 'decode') else _decode_anchors(head, boxes)
        return decoded, _flatten(scores, head.cls_out_channels).sigmoid()


class DeployedClassifier(ExportModel):
    """Return ``scores`` (B, K), the probability of each class.

    Raises:
        UserError: The network's head does not choose one of several classes.
    """

    outputs = ('scores',)

    def __init__(self, network: nn.Module, preprocessing: Preprocessing | None) -> None:
        from mmpretrain.models import ClsHead  # an extra, there if the network is

        head = getattr(network, 'head', None)
        if not isinstance(head, ClsHead):
            raise UserError(
                f'model.head.type={type(head).__name__}: expected a head that chooses one class, '
                'such as LinearClsHead'
            )
        super().__init__(network, preprocessing)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.preprocess(images), mode='tensor').softmax(1)


def make_export_model(
    network: nn.Module, preprocessing: Preprocessing | None = None, argmax: bool = False
) -> ExportModel:
    """Return the function of a network, see the classes of this module.

    Args:
        network: A segmentor of MMSegmentation, a single-stage detector of MMDetection, or a
            classifier of MMPretrain.
        preprocessing: See :class:`ExportModel`.
        argmax: Whether a segmentor returns labels.

    Raises:
        UserError: The network cannot be exported in this way.
    """
    if is_segmentor(network):
        return DeployedSegmentor(network, preprocessing, argmax)
    if argmax:
        raise UserError(f'--argmax with model.type={type(network).__name__}: expected a segmentor')
    if is_classifier(network):
        return DeployedClassifier(network, preprocessing)
    return DeployedDetector(network, preprocessing)


def _decode_anchors(head: RetinaHead, levels: list[Tensor]) -> Tensor:
    """Return boxes (B, A, 4) from an anchor head's box deltas, (B, anchors * 4, H, W) per level."""
    sizes = [level.shape[-2:] for level in levels]
    anchors = torch.cat(head.prior_generator.grid_priors(sizes, device=levels[0].device))
    deltas = _flatten(levels, head.bbox_coder.encode_size)
    return head.bbox_coder.decode(anchors.expand(len(deltas), -1, -1), deltas)


def _flatten(levels: list[Tensor], channels: int) -> Tensor:
    """Reshape (B, anchors * channels, H, W) per level to (B, A, channels)."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, channels) for x in levels], 1)


class _BinAveragePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as matrix products, which ONNX supports for every image size.

    Args:
        size: Rows and columns of the output, or one number for both. None leaves an axis as it is.
    """

    def __init__(self, size: int | tuple[int | None, int | None]) -> None:
        super().__init__()
        self.rows, self.columns = (size, size) if isinstance(size, int) else size

    def forward(self, x: Tensor) -> Tensor:
        if self.rows is not None:
            x = self._bins(x.shape[-2], self.rows, x) @ x
        if self.columns is not None:
            x = x @ self._bins(x.shape[-1], self.columns, x).T
        return x

    def _bins(self, size: int, bins: int, x: Tensor) -> Tensor:
        """Return (bins, size): row b averages floor(b size / bins) .. ceil((b + 1) size / bins)."""
        b = torch.arange(bins, device=x.device)[:, None]
        i = torch.arange(size, device=x.device)[None, :]
        # Without division: floor division exports as comparisons of booleans, which tract lacks.
        member = ((i + 1) * bins > b * size) & (i * bins < (b + 1) * size)
        weights = member.to(x.dtype)
        return weights / weights.sum(1, keepdim=True)


def _exportable(network: nn.Module) -> nn.Module:
    """Return a copy in eval mode, without training-only heads and non-exportable layers."""
    network = revert_sync_batchnorm(copy.deepcopy(network)).eval().requires_grad_(False)
    if is_segmentor(network) and network.with_auxiliary_head:
        network.auxiliary_head = None
    for module in list(network.modules()):
        if isinstance(module, FourPathScan):
            module.backend = 'doubling'
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and not _averages_all(child):
                setattr(module, name, _BinAveragePool(child.output_size))
    return network


def _averages_all(pool: nn.AdaptiveAvgPool2d) -> bool:
    size = pool.output_size
    return size == 1 or not isinstance(size, int) and tuple(size) == (1, 1)
