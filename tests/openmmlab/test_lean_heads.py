"""Lean heads: the losses, gradients and predictions of MMSegmentation's own."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmkd.distillation.recording import record
from mmkd.distillation.tap import parse_tap
from mmkd.openmmlab import lean_heads
from mmkd.openmmlab.lean_heads import (
    lean_loss_heads,
    plain_loss,
    report_accuracy,
    use_lean_heads,
)
from mmkd.ops import upsampled_cross_entropy as ops

CLASSES = 5
CROSS_ENTROPY = dict(type='CrossEntropyLoss')
FCN = dict(type='FCNHead', in_channels=6, channels=4, num_convs=1, concat_input=False)
SEGFORMER = dict(type='SegformerHead', in_channels=[4, 6, 8], in_index=[0, 1, 2], channels=8)


@pytest.fixture(autouse=True)
def by_rows(monkeypatch):
    """The lean loss also at the small sizes of these tests."""
    monkeypatch.setattr(ops, '_SMALL', 0)


def make_head(config=FCN, loss=CROSS_ENTROPY, seed=0, **options):
    options = dict(num_classes=CLASSES, norm_cfg=dict(type='BN'), dropout_ratio=0) | options
    torch.manual_seed(seed)
    return MODELS.build(dict(config, loss_decode=loss, **options))


def make_lean(head):
    head = copy.deepcopy(head)
    use_lean_heads(head)
    return head


def make_maps(*channels):
    """A pyramid of maps, the largest first; its last level has an odd size."""
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, c, -(-24 // 2**i), -(-36 // 2**i), generator=generator).requires_grad_()
        for i, c in enumerate(channels)
    ]


def make_samples(size=(47, 70)):
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(CLASSES, (2, 1, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    return [SegDataSample(gt_sem_seg=PixelData(data=x)) for x in labels]


def losses_and_gradients(head, *channels):
    maps = make_maps(*channels)
    losses = head.loss(maps, make_samples(), {})
    total = sum(value for name, value in losses.items() if 'loss' in name)
    inputs = [*maps, *head.parameters()]
    gradients = torch.autograd.grad(total, inputs, allow_unused=True)
    return losses, [g for g in gradients if g is not None]


def assert_equal_losses(head, *channels):
    lean, expected = (losses_and_gradients(h, *channels) for h in (make_lean(head), head))
    assert list(lean[0]) == list(expected[0])
    for name, value in expected[0].items():
        torch.testing.assert_close(lean[0][name], value, rtol=1e-6, atol=1e-6)
    assert len(lean[1]) == len(expected[1])
    for found, gradient in zip(lean[1], expected[1], strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(
    'loss',
    [
        dict(CROSS_ENTROPY, loss_weight=0.4),
        dict(CROSS_ENTROPY, avg_non_ignore=True),
        dict(CROSS_ENTROPY, avg_non_ignore=True, class_weight=[0.5, 1, 2, 1, 0.1]),
        dict(CROSS_ENTROPY, class_weight=[0.5, 1, 2, 1, 0.1]),
        [CROSS_ENTROPY, dict(CROSS_ENTROPY, loss_weight=2.0, loss_name='loss_other')],
        [CROSS_ENTROPY, dict(CROSS_ENTROPY, loss_weight=2.0)],
    ],
)
def test_lean_loss_equals_mmsegmentation(loss, align_corners):
    head = make_head(loss=loss, align_corners=align_corners)
    assert lean_loss_heads(make_lean(head))
    assert_equal_losses(head, 6)


@pytest.mark.parametrize('align_corners', [False, True])
def test_lean_segformer_equals_mmsegmentation(align_corners):
    head = make_head(SEGFORMER, align_corners=align_corners)
    assert_equal_losses(head, 4, 6, 8)
    head.eval()
    maps = make_maps(4, 6, 8)
    torch.testing.assert_close(make_lean(head)(maps), head(maps), rtol=0, atol=4e-6)


def test_lean_segformer_keeps_taps_and_parameters():
    head = make_head(SEGFORMER)
    lean = make_lean(head)
    assert list(lean.state_dict()) == list(head.state_dict())
    recordings = []
    taps = [parse_tap(name) for name in ('fusion_conv', 'fusion_conv.conv', 'convs.2')]
    for each in (head, lean):
        with record(each, taps) as recording:
            each(make_maps(4, 6, 8))
        recordings.append([recording[tap] for tap in taps])
    for found, expected in zip(*recordings, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=4e-6)


def test_lean_segformer_copies_share_nothing():
    lean = make_lean(make_head(SEGFORMER))
    other = copy.deepcopy(lean)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    maps = make_maps(4, 6, 8)
    assert not other(maps).any() and lean(maps).any()


@pytest.mark.parametrize(
    'options',
    [
        dict(loss=dict(type='FocalLoss')),
        dict(loss=[CROSS_ENTROPY, dict(type='DiceLoss')]),
        dict(loss=dict(CROSS_ENTROPY, use_sigmoid=True)),
        dict(sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=100)),
    ],
)
def test_use_lean_heads_leaves_other_losses(options):
    head = make_lean(make_head(**options))
    assert lean_loss_heads(head) == []
    assert 'loss_by_feat' not in vars(head)


def test_use_lean_heads_leaves_heads_with_own_loss():
    class Own(type(make_head())):
        def loss_by_feat(self, seg_logits, batch_data_samples):
            return {}

    head = make_head()
    head.__class__ = Own
    use_lean_heads(head)
    assert head.loss(make_maps(6), make_samples(), {}) == {}


def test_use_lean_heads_twice_changes_nothing():
    lean = make_lean(make_head(SEGFORMER))
    modules = list(lean.modules())
    use_lean_heads(lean)
    assert all(a is b for a, b in zip(lean.modules(), modules, strict=True))


def test_plain_loss_is_differentiable_twice():
    lean = make_lean(make_head())
    maps = make_maps(6)
    with plain_loss(lean):
        losses = lean.loss(maps, make_samples(), {})
    (gradient,) = torch.autograd.grad(losses['loss_ce'], maps, create_graph=True)
    gradient.square().sum().backward()
    assert maps[0].grad.isfinite().all() and maps[0].grad.any()
    assert lean.cross_entropy is ops.upsampled_cross_entropy


def test_report_accuracy_switches_accuracy():
    lean = make_lean(make_head())
    report_accuracy(lean, False)
    assert list(lean.loss(make_maps(6), make_samples(), {})) == ['loss_ce']
    report_accuracy(lean, True)
    assert list(lean.loss(make_maps(6), make_samples(), {})) == ['loss_ce', 'acc_seg']


def test_lean_heads_fast_scnn_trains_as_plain():
    path = 'configs/_base_/models/fast_scnn.py'
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(path).model)
    lean = make_lean(model)
    assert len(lean_loss_heads(lean)) == 3
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    results = []
    for network in (model, lean):
        torch.manual_seed(0)  # dropout
        losses = network.loss(images, make_samples((64, 96)))
        network.parse_losses(losses)[0].backward()
        results.append((losses, [p.grad for p in network.parameters()]))
    for name, value in results[0][0].items():
        torch.testing.assert_close(results[1][0][name], value, rtol=1e-5, atol=1e-5)
    for expected, found in zip(results[0][1], results[1][1], strict=True):
        assert (expected - found).norm() <= 1e-4 * expected.norm() + 1e-6


@pytest.mark.parametrize('align_corners', [False, True])
def test_lean_segformer_predicts_the_same_in_parts(align_corners, monkeypatch):
    monkeypatch.setattr(lean_heads, '_PART', 3)  # of 8 channels
    head = make_head(SEGFORMER, align_corners=align_corners).eval()
    maps = make_maps(4, 6, 8)
    with torch.no_grad():
        torch.testing.assert_close(make_lean(head)(maps), head(maps), rtol=0, atol=4e-6)
