"""The check of a dynamic file against PyTorch, at sizes that the file was not made with."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn import functional

from mmkd.cli.export_graph import (
    check_against_pytorch,
    evaluate,
    other_sizes,
    stretches_images,
)
from mmkd.deploy.export_files import write_onnx
from mmkd.deploy.export_model import ExportModel, make_export_model
from mmkd.errors import UserError
from mmkd.openmmlab.preprocessing import Preprocessing
from mmkd.registry import MODELS

SIZE = (24, 36)


class _Pooled(nn.Module):
    """Add the averages of 3 x 3 bins to an image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bins = functional.adaptive_avg_pool2d(x, 3)
        return x + functional.interpolate(bins, size=x.shape[-2:], mode='nearest')


class _Even(nn.Module):
    """Take images of even sides only, as a UNet does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting() and x.shape[-1] % 2:
            raise ValueError('expected an even width')
        return 2 * x


class _Images(ExportModel):
    outputs = ('logits',)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(self.preprocess(images))


def written(folder: Path, network: nn.Module) -> tuple[ExportModel, Path]:
    """Return the network as ``export`` takes it, and as a dynamic ONNX file."""
    module = _Images(nn.Sequential(nn.Conv2d(3, 3, 1), network), None)
    write_onnx(module, folder / 'network.onnx', SIZE, dynamic=True, facts={})
    return module, folder / 'network.onnx'


@given(
    units=st.tuples(st.integers(2, 60), st.integers(2, 60)), divisor=st.sampled_from([1, 8, 32, 64])
)
def test_other_sizes_of_any_size_are_smaller_larger_and_odd(units, divisor):
    size = tuple(unit * divisor for unit in units)
    sizes = other_sizes(size, divisor)
    assert list(sizes) == ['smaller', 'larger', 'odd']
    assert all(a < b for a, b in zip(sizes['smaller'], size, strict=True))
    assert all(a > b for a, b in zip(sizes['larger'], size, strict=True))
    assert all(side // divisor % 2 == 1 for side in sizes['odd'])
    for other in sizes.values():
        assert not any(side % divisor for side in other)
        assert all(a != b for a, b in zip(other, size, strict=True))


def test_other_sizes_of_the_divisor_itself_has_none_that_is_smaller():
    assert list(other_sizes((32, 64), 32)) == ['larger', 'odd']


def test_check_of_bins_frozen_at_the_example_raises_user_error(tmp_path):
    module, path = written(tmp_path, _Pooled())
    check_against_pytorch(module, path, SIZE, ())
    with pytest.raises(UserError, match='logits of 2 x 12 x 18: the file differs from PyTorch by'):
        check_against_pytorch(module, path, SIZE, other_sizes(SIZE, 1).values())


def test_check_at_a_size_that_pytorch_refuses_names_it_and_goes_on(tmp_path, capsys):
    module, path = written(tmp_path, _Even())
    check_against_pytorch(module, path, SIZE, other_sizes(SIZE, 1).values())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in lines] == [
        'logits of 1 x 24 x 36', 'logits of 2 x 12 x 18', 'logits of 2 x 56 x 100', '2 x 27 x 41'
    ]  # fmt: skip
    assert lines[3].endswith('not checked, PyTorch itself fails (expected an even width)')


def test_check_of_a_file_of_one_size_at_another_raises_user_error(tmp_path):
    module, path = written(tmp_path, _Even())
    write_onnx(module, path, SIZE, dynamic=False, facts={})
    with pytest.raises(UserError, match='2 x 12 x 18: the file cannot be run'):
        check_against_pytorch(module, path, SIZE, [(12, 18)])


@pytest.mark.parametrize(
    'resize, stretched',
    [
        (dict(type='Resize', scale=(128, 96), keep_ratio=True), False),
        (dict(type='mmdet.Resize', scale=(128, 96), keep_ratio=False), True),
        (dict(type='Resize', scale=(128, 96)), True),  # MMCV's default
        (dict(type='Resize', scale_factor=0.5), False),
        (dict(type='LoadImageFromFile'), False),
    ],
)
def test_stretches_images_is_told_by_the_test_pipeline(resize, stretched):
    dataset = dict(type='ConcatDataset', datasets=[dict(pipeline=[resize])])
    assert stretches_images(Config(dict(test_dataloader=dict(dataset=dataset)))) == stretched
    assert not stretches_images(Config(dict(test_dataloader=None)))


@pytest.fixture
def resized_data(tmp_path) -> Config:
    """Three images, tested at half of the size of their label maps."""
    random = np.random.default_rng(0)
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for i in range(3):
        image = cv2.resize(random.integers(0, 256, (6, 9, 3), np.uint8), (96, 64))
        cv2.imwrite(str(tmp_path / f'images/{i}.png'), image)
        cv2.imwrite(str(tmp_path / f'labels/{i}.png'), image[..., 0] // 86)
    dataset = dict(
        type='mmkd.FolderDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=dict(classes=('a', 'b', 'c')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(48, 32)),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    )
    evaluator = dict(type='mmkd.ExactIoUMetric', iou_metrics=['mIoU'])
    return Config(dict(test_dataloader=dict(dataset=dataset), test_evaluator=evaluator))


@pytest.mark.parametrize('cascade', [False, True])
def test_evaluate_compares_resized_labels_with_pytorchs(resized_data, capsys, cascade):
    head = dict(in_channels=4, in_index=1, channels=4, num_classes=3, align_corners=False)
    heads = dict(head, type='FCNHead', num_convs=1)
    model = dict(type='EncoderDecoder', decode_head=heads, test_cfg=dict(mode='whole'))
    if cascade:
        heads = [heads, dict(head, type='OCRHead', ocr_channels=4)]
        model.update(type='CascadeEncoderDecoder', num_stages=2, decode_head=heads)
    one = dict(strides=(1, 2), downsamples=(True,), enc_num_convs=(1, 1), dec_num_convs=(1,))
    one |= dict(num_stages=2, enc_dilations=(1, 1), dec_dilations=(1,), base_channels=4)
    preprocessor = dict(type='SegDataPreProcessor', mean=[127.0] * 3, std=[50.0] * 3)
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.manual_seed(0)
        model |= dict(backbone=dict(one, type='UNet'), data_preprocessor=preprocessor)
        network = MODELS.build(model).eval()
        resized_data.model = model
        last = (network.decode_head[-1] if cascade else network.decode_head).conv_seg
        nn.init.normal_(last.weight)
        labels = make_export_model(network, argmax=True)
        file = dict(file=(lambda images: (labels(images),), False))
        evaluate(network, resized_data, file, exact=True, argmax=True)
    said = capsys.readouterr().out.splitlines()
    scores = dict(line.split(': mIoU ') for line in said if ': mIoU ' in line)
    assert scores['file'] == scores['PyTorch, labels'] != scores['PyTorch']


@pytest.mark.parametrize('argmax', [False, True])
@pytest.mark.parametrize('padding', [dict(size_divisor=20), dict(size=(60, 70))])
def test_evaluate_of_raw_images_pads_them_as_the_network_does(
    resized_data, capsys, padding, argmax
):
    preprocessor = dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size_divisor=1,  # of training; a test does not follow it
        pad_val=-1,
        test_cfg=padding,
    )
    head = dict(type='FCNHead', in_channels=4, channels=4, num_classes=3, num_convs=1)
    one = dict(type='UNet', base_channels=4, num_stages=1, strides=(1,), downsamples=())
    one |= dict(enc_num_convs=(1,), enc_dilations=(1,), dec_num_convs=(), dec_dilations=())
    model = dict(type='EncoderDecoder', backbone=one, decode_head=dict(head, in_index=0))
    resized_data.model = model | dict(data_preprocessor=preprocessor, test_cfg=dict(mode='whole'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.manual_seed(0)
        network = MODELS.build(resized_data.model).eval()
        nn.init.normal_(network.decode_head.conv_seg.weight)
        preprocessing = Preprocessing.from_config(preprocessor, testing=True)
        module, shapes = make_export_model(network, preprocessing, argmax), set()

        def file(images: torch.Tensor) -> tuple[torch.Tensor]:
            shapes.add(tuple(images.shape[1:3]))
            return (module(images),)

        evaluate(network, resized_data, dict(file=(file, True)), exact=True, argmax=argmax)
    assert shapes == {preprocessing.padded((32, 48))}
    said = capsys.readouterr().out.splitlines()
    scores = {
        name: float(score) for name, _, score in (s.partition(': mIoU ') for s in said) if score
    }
    assert list(scores)[:1] == ['PyTorch'] and list(scores)[-2:] == [
        'PyTorch, rounded padding',
        'file',
    ]
    assert scores['PyTorch'] == pytest.approx(scores['file'], abs=1.0) and scores['file'] > 0
