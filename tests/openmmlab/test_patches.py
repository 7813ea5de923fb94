"""Patches of the libraries that tests of other modules do not cover."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from mmdet.evaluation import VOCMetric
from mmdet.models.dense_heads import RetinaHead, YOLOXHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmseg.registry import MODELS
from torch.nn import functional

from mmkd.errors import UserError


@pytest.mark.parametrize('avg_non_ignore', [False, True])
@pytest.mark.parametrize('ignored', [0.0, 0.4])
def test_mmsegmentation_class_weight_equals_pytorch_weighted_mean(avg_non_ignore, ignored):
    weight = [0.5, 1.0, 3.0]
    loss = MODELS.build(
        dict(type='CrossEntropyLoss', class_weight=weight, avg_non_ignore=avg_non_ignore)
    )
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    labels = torch.randint(3, (2, 8, 8), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    expected = functional.cross_entropy(logits, labels, torch.tensor(weight), ignore_index=255)
    torch.testing.assert_close(loss(logits, labels, ignore_index=255), expected)


def test_mmsegmentation_cross_entropy_without_class_weight_is_unchanged():
    loss = MODELS.build(dict(type='CrossEntropyLoss', avg_non_ignore=True))
    logits, labels = torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 255]]])
    torch.testing.assert_close(loss(logits, labels, ignore_index=255), torch.tensor(3.0).log())


def test_mmdetection_pools_regions_of_bfloat16_features_where_they_are():
    extractor = SingleRoIExtractor(
        dict(type='RoIAlign', output_size=2, sampling_ratio=2), out_channels=1, featmap_strides=[16]
    )
    # Each column is its number over 8: exact in bfloat16. The corners of the regions are not.
    columns = (torch.arange(64.0) / 8).expand(1, 1, 64, 64).contiguous()
    regions = torch.tensor([[0, 901.5, 901.5, 905.5, 905.5], [0, 517, 3, 519, 7]])
    expected = extractor([columns], regions)
    pooled = extractor([columns.bfloat16()], regions)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-5)
    rounded = extractor([columns], regions.bfloat16().float())
    assert (rounded - expected).abs().max() > 5e-3


@pytest.fixture
def _mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


HALVES = pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
META = dict(img_shape=(8, 1024), pad_shape=(8, 1024), ori_shape=(8, 1024), scale_factor=(1.0, 1.0))


def in_type(levels, dtype):
    return [level.detach().to(dtype).requires_grad_() for level in levels]


@HALVES
@pytest.mark.usefixtures('_mmdet_scope')
def test_mmdetection_boxes_of_half_precision_outputs_are_not_rounded(dtype):
    head = RetinaHead(
        num_classes=1,
        in_channels=4,
        anchor_generator=dict(type='AnchorGenerator', scales=[1.3], ratios=[1.0], strides=[8]),
        test_cfg=ConfigDict(
            nms_pre=1000, score_thr=0.1, max_per_img=10, nms=dict(type='nms', iou_threshold=0.5)
        ),
    )
    scores, deltas = torch.full((1, 1, 1, 128), -20.0), torch.full((1, 4, 1, 128), 0.25)
    scores[..., 120] = 5.0
    (expected,) = head.predict_by_feat([scores], [deltas], batch_img_metas=[META])
    with torch.autocast('cpu', dtype):
        (found,) = head.predict_by_feat(
            [scores.to(dtype)], [deltas.to(dtype)], batch_img_metas=[META]
        )
    assert len(found) == 1
    torch.testing.assert_close(found.bboxes, expected.bboxes)
    torch.testing.assert_close(found.scores, expected.scores)


@pytest.fixture
def yolox(_mmdet_scope) -> YOLOXHead:
    return YOLOXHead(
        num_classes=1,
        in_channels=4,
        strides=[8],
        train_cfg=dict(assigner=dict(type='SimOTAAssigner')),
        test_cfg=ConfigDict(score_thr=0.1, nms=dict(type='nms', iou_threshold=0.5)),
    )


@HALVES
def test_yolox_trains_on_boxes_that_half_precision_does_not_round(yolox, dtype):
    generator = torch.Generator().manual_seed(0)
    outputs = [[torch.randn(1, n, 1, 128, generator=generator)] for n in (1, 4, 1)]
    # Boxes that overlap the truth: dx, dy and the logarithms of width and height, in strides.
    boxes = torch.tensor([0.4, 0.5, 0.4, -0.1]).view(1, 4, 1, 1)
    outputs[1][0] = boxes + 0.2 * outputs[1][0]
    outputs = [[level.to(dtype) for level in levels] for levels in outputs]
    truth = InstanceData(
        bboxes=torch.tensor([[901.5, 1, 915, 7], [700, 0, 711.5, 8]]), labels=torch.tensor([0, 0])
    )

    def box_loss_and_gradient(dtype):
        with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
            levels = [in_type(output, dtype) for output in outputs]
            value = yolox.loss_by_feat(*levels, [truth], [META])['loss_bbox']
        return value.detach(), torch.autograd.grad(value, levels[1][0])[0].float()

    expected, found = box_loss_and_gradient(torch.float32), box_loss_and_gradient(dtype)
    assert expected[0] > 0
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1], rtol=1e-2, atol=1e-6)


@HALVES
def test_yolox_boxes_of_half_precision_outputs_are_not_rounded(yolox, dtype):
    outputs = [torch.full((1, channels, 1, 128), -20.0) for channels in (1, 4, 1)]
    outputs[0][..., 120] = outputs[2][..., 120] = 5.0
    outputs[1][..., 120] = torch.tensor([0.15625, 0.5, 0.25, 0.25])[:, None]
    expected, found = (
        yolox.predict_by_feat(
            *([output.to(kind)] for output in outputs), batch_img_metas=[META], rescale=False
        )[0]
        for kind in (torch.float32, dtype)
    )
    assert len(found) == 1
    torch.testing.assert_close(found.bboxes, expected.bboxes)


@pytest.mark.parametrize(
    'name, metrics, message',
    [
        ('coco/bbox_mAP', {'pascal_voc/mAP': 0.0}, None),
        ('val/coco/bbox_mAP', {'unseen/coco/bbox_mAP': 0.5}, None),
        ('coco/mAP', {'coco/bbox_mAP': 0.5}, "save_best='coco/mAP': expected one of coco/bbox_mAP"),
        ('cooc/bbox_mAP', {'pascal_voc/mAP': 0.0}, "save_best='cooc/bbox_mAP': expected one of"),
        ('mIoUU', {'mIoU': 30.0, 'aAcc': 80.0}, "save_best='mIoUU': expected one of mIoU, aAcc"),
    ],
)
def test_mmengine_best_checkpoint_of_a_metric_that_is_not_reported(logged, name, metrics, message):
    hook = CheckpointHook(save_best=name, rule='greater')
    runner = SimpleNamespace(
        logger=MMLogger.get_current_instance(),
        val_evaluator=Evaluator(VOCMetric(prefix='coco')),
        cfg=Config(dict(default_hooks=dict(checkpoint=dict(save_best=name)))),
    )
    with nullcontext() if message is None else pytest.raises(UserError, match=message):
        hook.after_val_epoch(runner, metrics)
    assert (f'did not report {name}' in logged.text) == (message is None)
