import math

import torch
from mmcv.cnn import DepthwiseSeparableConvModule
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.task_modules import DistancePointBBoxCoder, MlvlPointGenerator
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmkd.models.yolo11.blocks import ACTIVATION, NORM, conv
from mmkd.models.yolo11.scales import find_scale
from mmkd.models.yolo11.yolo11_backbone import KAIMING
from mmkd.ops.precision import at_least_float32
from mmkd.registry import MODELS, TASK_UTILS

_STRIDES = (8, 16, 32)
_BINS = 16
# The reference defines its class prior as a number of objects in an image of this side.
_IMAGE_SIDE, _OBJECTS = 640, 5
# Alignment is score^a * IoU^6 and can underflow; eps avoids a division by almost 0.
_METRIC_EPS = 1e-9


@MODELS.register_module()
class YOLO11Head(BaseDenseHead):
    """YOLO11's layer 23: classes by depthwise convolutions, boxes as distributions.

    ``forward`` returns for each level class logits (B, num_classes, H, W) and box logits
    (B, 64, H, W). For left, top, right and bottom in turn there are 16 bins over the distance from
    the cell's centre to that side, 0 to 15 strides.

    The loss is the reference's without its factor B, built from MMDetection's parts. Assignment is
    task-aligned. The class target and weight of each positive is its alignment, scaled so that the
    best prediction of a ground truth gets that ground truth's highest overlap. The three terms are
    divided by the sum of these targets, averaged over the processes and at least 1. The loss and
    the boxes are computed in float32, also under autocast.

    On the fixture's batch, classes, distributions and assignment equal the reference's. They can
    differ elsewhere, for two reasons. A cell among the ten best of several ground truths goes to
    the one with the highest overlap: the reference searches all ground truths around the cell,
    MMDetection only those several. And MMDetection requires a cell's centre to lie inside a ground
    truth by more than 0.01 pixels. ``CIoULoss`` counts the aspect ratio only where IoU > 0.5, which
    makes the box term 0.3 % smaller on the fixture.

    Sources: see ``blocks``; Feng et al., "TOOD", ICCV 2021 (assignment); Li et al., "Generalized
    Focal Loss", NeurIPS 2020 (distributions).

    Args:
        num_classes: Number of classes of the dataset.
        scale: Scale of the backbone.
        loss_cls, loss_bbox, loss_dfl: MMDetection's losses; their weights are the gains.
        train_cfg: ``assigner``, called with ``alpha`` and ``beta``.
        test_cfg: ``score_thr``, ``nms_pre``, ``nms`` and ``max_per_img``.

    Raises:
        UserError: ``scale`` is unknown.
    """

    tap_aliases = {'yolo': {23: ''}}

    def __init__(
        self,
        num_classes: int,
        scale: str,
        loss_cls: dict,
        loss_bbox: dict,
        loss_dfl: dict,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | list | None = KAIMING,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        size = find_scale(scale)
        widths = [size.channels(planned) for planned in (256, 512, 1024)]
        hidden = max(widths[0] // 4, 4 * _BINS)
        self.box_branches = nn.ModuleList(
            nn.Sequential(
                conv(width, hidden, 3), conv(hidden, hidden, 3), nn.Conv2d(hidden, 4 * _BINS, 1)
            )
            for width in widths
        )
        hidden = max(widths[0], min(num_classes, 100))
        self.class_branches = nn.ModuleList(
            nn.Sequential(
                _separable_conv(width, hidden),
                _separable_conv(hidden, hidden),
                nn.Conv2d(hidden, num_classes, 1),
            )
            for width in widths
        )
        # A frozen parameter instead of a buffer: the reference counts and saves it.
        self.bins = nn.Parameter(torch.arange(float(_BINS)), requires_grad=False)
        self.num_classes = num_classes
        self.cls_out_channels, self.use_sigmoid_cls = num_classes, True  # for BaseDenseHead
        self.prior_generator = MlvlPointGenerator(_STRIDES)
        self.bbox_coder = DistancePointBBoxCoder()
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_dfl = MODELS.build(loss_dfl)
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg
        if train_cfg:
            self.assigner = TASK_UTILS.build(train_cfg['assigner'])

    def init_weights(self) -> None:
        """Start with boxes of about one stride per side and few objects per image."""
        super().init_weights()
        for boxes, classes, stride in zip(
            self.box_branches, self.class_branches, _STRIDES, strict=True
        ):
            nn.init.constant_(boxes[-1].bias, 1.0)
            cells = (_IMAGE_SIDE / stride) ** 2
            nn.init.constant_(classes[-1].bias, math.log(_OBJECTS / self.num_classes / cells))

    def forward(self, features: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], ...]:
        """Return the class logits and box logits of all levels."""
        return (
            tuple(branch(x) for branch, x in zip(self.class_branches, features, strict=True)),
            tuple(branch(x) for branch, x in zip(self.box_branches, features, strict=True)),
        )

    def decode(self, bbox_preds: tuple[Tensor, ...]) -> Tensor:
        """Return boxes x1, y1, x2, y2 in pixels (B, A, 4), not clipped, from box logits."""
        bbox_preds = at_least_float32(*bbox_preds)
        centres = self._priors(bbox_preds)[:, :2]
        distances = _flatten(self._distances(bbox_preds))
        return self.bbox_coder.decode(centres.expand(len(distances), -1, -1), distances)

    def predict_by_feat(
        self, cls_scores: tuple[Tensor, ...], bbox_preds: tuple[Tensor, ...], **kwargs: object
    ) -> list[InstanceData]:
        """Return the detections of each image from the output of ``forward``."""
        cls_scores = at_least_float32(*cls_scores)
        distances = self._distances(at_least_float32(*bbox_preds))
        return super().predict_by_feat(cls_scores, distances, **kwargs)

    def loss_by_feat(
        self,
        cls_scores: tuple[Tensor, ...],
        bbox_preds: tuple[Tensor, ...],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss_cls``, ``loss_bbox`` and ``loss_dfl`` from the output of ``forward``.

        Args:
            batch_gt_instances: ``bboxes`` (G, 4) in pixels and ``labels`` (G,) of each image.
            batch_img_metas, batch_gt_instances_ignore: Not used; crowds are background.
        """
        cls_scores, bbox_preds = at_least_float32(*cls_scores), at_least_float32(*bbox_preds)
        priors = self._priors(bbox_preds)
        logits, boxes = _flatten(cls_scores), self.decode(bbox_preds)
        with torch.no_grad():
            targets = [
                self._targets(priors, *image)
                for image in zip(logits.sigmoid(), boxes, batch_gt_instances, strict=True)
            ]
        class_targets, box_targets = (torch.stack(parts) for parts in zip(*targets, strict=True))
        total = reduce_mean(class_targets.sum()).clamp(min=1)
        weights = class_targets.sum(-1)
        image, prior = weights.nonzero(as_tuple=True)
        weights, box_targets = weights[image, prior], box_targets[image, prior]
        centres, strides = priors[prior, :2], priors[prior, 2:3]
        distances = self.bbox_coder.encode(
            centres / strides, box_targets / strides, max_dis=_BINS - 1, eps=0.01
        )
        return dict(
            loss_cls=self.loss_cls(
                logits.flatten(0, 1), class_targets.flatten(0, 1), avg_factor=total
            ),
            loss_bbox=self.loss_bbox(boxes[image, prior], box_targets, weights, avg_factor=total),
            loss_dfl=self.loss_dfl(
                _flatten(bbox_preds)[image, prior].view(-1, _BINS),
                distances.flatten(),
                weights.repeat_interleave(4),
                avg_factor=4 * total,
            ),
        )

    def _targets(
        self, priors: Tensor, scores: Tensor, boxes: Tensor, truth: InstanceData
    ) -> tuple[Tensor, Tensor]:
        """Return class targets (A, num_classes) and box targets (A, 4); 0 for background."""
        centres = priors[:, :2]
        predictions = InstanceData(
            priors=torch.cat((centres, centres), 1),
            bboxes=torch.cat((boxes, centres), 1),
            scores=scores,
        )
        assigned = self.assigner.assign(
            predictions, truth, alpha=self.train_cfg['alpha'], beta=self.train_cfg['beta']
        )
        positive = assigned.gt_inds.nonzero().squeeze(1)
        truth_of = assigned.gt_inds[positive] - 1
        metrics, overlaps = assigned.assign_metrics[positive], assigned.max_overlaps[positive]
        none = scores.new_zeros(len(truth.labels))
        best_metric = none.scatter_reduce(0, truth_of, metrics, 'amax')[truth_of]
        best_overlap = none.scatter_reduce(0, truth_of, overlaps, 'amax')[truth_of]
        class_targets, box_targets = torch.zeros_like(scores), torch.zeros_like(boxes)
        class_targets[positive, truth.labels[truth_of]] = (
            metrics / (best_metric + _METRIC_EPS) * best_overlap
        )
        box_targets[positive] = truth.bboxes[truth_of].to(boxes)
        return class_targets, box_targets

    def _priors(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Return centre x, y and stride (twice) of every cell (A, 4), in pixels."""
        sizes = [level.shape[-2:] for level in levels]
        return torch.cat(
            self.prior_generator.grid_priors(
                sizes, levels[0].dtype, levels[0].device, with_stride=True
            )
        )

    def _distances(self, bbox_preds: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the expected distances to the four sides in pixels, (B, 4, H, W) per level."""
        bins = self.bins.view(1, 1, -1, 1, 1)
        return [
            (level.unflatten(1, (4, _BINS)).softmax(2) * bins).sum(2) * stride
            for level, stride in zip(bbox_preds, _STRIDES, strict=True)
        ]


def _separable_conv(in_channels: int, out_channels: int) -> DepthwiseSeparableConvModule:
    return DepthwiseSeparableConvModule(
        in_channels, out_channels, 3, padding=1, norm_cfg=NORM, act_cfg=ACTIVATION
    )


def _flatten(levels: list[Tensor]) -> Tensor:
    """Reshape (B, C, H, W) per level to (B, A, C)."""
    return torch.cat([level.flatten(2) for level in levels], 2).transpose(1, 2)
