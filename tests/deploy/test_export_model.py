import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmseg.structures import SegDataSample
from torch import nn

from mmkd.config.load import load_config
from mmkd.deploy.export_files import example_images
from mmkd.deploy.export_model import ExportModel, _exportable, make_export_model
from mmkd.errors import UserError
from mmkd.openmmlab.preprocessing import Preprocessing
from mmkd.registry import MODELS


@pytest.fixture
def student() -> ConfigDict:
    return load_config('configs/students/fast_scnn_streets.py').model


def build(model: ConfigDict) -> nn.Module:
    torch.manual_seed(0)
    network = MODELS.build(model)
    for module in network.modules():  # statistics that an untrained network has not
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            nn.init.xavier_normal_(module.weight, gain=2)
    return network


def segmentor(model: ConfigDict) -> nn.Module:
    """A network none of whose classes wins everywhere."""
    network = build(model).eval()
    with torch.no_grad():
        noise = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
        means = network(noise, mode='tensor').mean((0, 2, 3))
        network.decode_head.conv_seg.bias -= means
    return network


def raw_batch(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=generator)


def predicted(network: nn.Module, raw: torch.Tensor) -> list:
    """What the network itself says of raw images: its preprocessing, its post-processing."""
    shape = tuple(raw.shape[1:3])
    samples = [SegDataSample(metainfo=dict(img_shape=shape, ori_shape=shape)) for _ in raw]
    with torch.no_grad():
        return network.test_step(dict(inputs=list(raw.permute(0, 3, 1, 2)), data_samples=samples))


@pytest.mark.parametrize('bgr_to_rgb', [True, False])
@pytest.mark.parametrize('size', [(64, 96), (75, 53)])
def test_export_model_labels_equal_network(student, bgr_to_rgb, size):
    student.data_preprocessor.update(bgr_to_rgb=bgr_to_rgb, mean=[120, 110, 100], std=[50, 60, 70])
    network, raw = segmentor(student), raw_batch(*size)
    preprocessing = Preprocessing.from_config(student.data_preprocessor)
    own = predicted(network, raw)
    logits = make_export_model(network, preprocessing)(raw)
    labels = make_export_model(network, preprocessing, argmax=True)(raw)
    assert labels.dtype == torch.uint8 and labels.unique().numel() > 1
    for i in range(2):
        torch.testing.assert_close(logits[i], own[i].seg_logits.data)
        assert torch.equal(labels[i].long(), own[i].pred_sem_seg.data[0])


def test_export_model_one_channel_uses_threshold(student):
    student.decode_head.update(num_classes=2, out_channels=1, threshold=0.3)
    student.decode_head.loss_decode.use_sigmoid = True
    student.auxiliary_head = None
    network, raw = segmentor(student), raw_batch(64, 64)
    preprocessing = Preprocessing.from_config(student.data_preprocessor)
    logits = make_export_model(network, preprocessing)(raw)
    network.decode_head.threshold = logits.median().sigmoid().item()
    labels = make_export_model(network, preprocessing, argmax=True)(raw)
    own = torch.stack([sample.pred_sem_seg.data[0] for sample in predicted(network, raw)])
    assert torch.equal(labels.float(), own.float()) and 0 < own.float().mean() < 1


def test_export_model_of_distiller_is_unchanged_student(student):
    network = build(student).train()
    names = set(network.state_dict())
    module = make_export_model(network)
    assert network.training and set(network.state_dict()) == names
    assert not any('auxiliary' in name for name in module.state_dict())
    assert not module.network.training


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    bins=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_matrix_pooling_equals_adaptive_pooling(size, bins):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    layer = nn.AdaptiveAvgPool2d(bins)
    replaced = ExportModel(nn.Sequential(nn.Identity(), layer), None).network
    assert bins == (1, 1) or not isinstance(replaced[1], nn.AdaptiveAvgPool2d)
    torch.testing.assert_close(replaced(x), layer(x))


@pytest.fixture(scope='module')
def detector_config() -> ConfigDict:
    """A small RetinaNet that finds something."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = load_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py').model
    model.backbone.update(base_channels=8, init_cfg=None)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.bbox_head.update(
        num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1, init_cfg=None
    )
    model.test_cfg.update(score_thr=0.5)
    return model


@pytest.fixture
def detector(detector_config) -> nn.Module:
    with DefaultScope.overwrite_default_scope('mmdet'):
        return build(copy.deepcopy(detector_config)).eval()


def test_export_model_detector_candidates_include_detections(detector):
    from mmdet.structures import DetDataSample

    raw = raw_batch(96, 128)
    shape = dict(img_shape=(96, 128), ori_shape=(96, 128), scale_factor=(1.0, 1.0))
    samples = [DetDataSample(metainfo=shape) for _ in raw]
    with torch.no_grad():
        batch = dict(inputs=list(raw.permute(0, 3, 1, 2)), data_samples=samples)
        found = detector.test_step(batch)
    own = detector.data_preprocessor
    mean, std = own.mean.flatten().tolist(), own.std.flatten().tolist()
    preprocessing = Preprocessing.from_config(dict(mean=mean, std=std, bgr_to_rgb=True))
    boxes, scores = make_export_model(detector, preprocessing)(raw)
    assert boxes.shape == (2, scores.shape[1], 4) and scores.shape[2] == 3
    limit = torch.tensor([128.0, 96, 128, 96])
    for i, sample in enumerate(found):
        instances = sample.pred_instances
        assert len(instances) > 3
        clipped = boxes[i].minimum(limit).clamp(min=0)
        for box, score, label in zip(
            instances.bboxes, instances.scores, instances.labels, strict=True
        ):
            near = (clipped - box).abs().amax(1) < 1e-2
            assert (scores[i, near, label] - score).abs().min() < 1e-5


def test_export_model_unsupported_network_raises_user_error(student, detector):
    student.test_cfg = dict(mode='slide', crop_size=(64, 64), stride=(32, 32))
    with pytest.raises(UserError, match="model.test_cfg.mode='slide': expected 'whole'"):
        make_export_model(build(student))
    with pytest.raises(UserError, match='--argmax with model.type=RetinaNet: expected a segmentor'):
        make_export_model(detector, argmax=True)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = load_config('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py').model
        model.backbone.init_cfg = None
        fcos = MODELS.build(model)
    with pytest.raises(UserError, match='bbox_head.type=FCOSHead: expected'):
        make_export_model(fcos)


@pytest.mark.parametrize(
    'config, head',
    [
        ('mmseg::mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py', 'Mask2FormerHead'),
        ('mmseg::maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py', 'MaskFormerHead'),
        ('mmseg::point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py', 'PointHead'),
    ],
)
def test_export_model_head_without_a_map_raises_user_error(config, head):
    model = load_config(config).model
    model.pretrained = model.backbone.init_cfg = None
    with torch.device('meta'):
        network = build(model)
    with pytest.raises(UserError, match=f'decode_head.type={head}: expected a head that returns'):
        make_export_model(network)


@pytest.mark.parametrize(
    'size', [(None, 1), (1, None), (None, 3), (5, None), [2, 3], (3, 3), 4, (1, 2), (None, None), 1]
)
def test_adaptive_pooling_every_form_equals_pytorch(size):
    pool = nn.AdaptiveAvgPool2d(size)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), pool).eval()
    exported = _exportable(network)
    for shape in ((2, 3, 11, 7), (1, 3, 5, 16)):
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(exported(images), network(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('classes, dtype', [(256, torch.uint8), (257, torch.int32)])
def test_export_model_many_classes_labels_do_not_overflow(student, classes, dtype):
    student.decode_head.num_classes = classes
    student.auxiliary_head = None
    network = build(student).eval()
    with torch.no_grad():
        network.decode_head.conv_seg.bias[classes - 1] += 1e6
        labels = make_export_model(network, argmax=True)(torch.randn(1, 3, 64, 64))
    assert labels.dtype == dtype and (labels == classes - 1).all()


@pytest.mark.parametrize('channels', [1, 4])
def test_export_model_other_channels_are_run_without_preprocessing(student, channels):
    student.backbone.in_channels = channels
    network = build(student).eval()
    module = make_export_model(network)
    assert module(example_images(module, (64, 64))).shape == (1, 11, 64, 64)
    with pytest.raises(
        UserError, match=f'--preprocess: expected .* three channels, not {channels}'
    ):
        make_export_model(network, Preprocessing.from_config(None))
