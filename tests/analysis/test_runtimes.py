"""Every runtime that is installed computes what PyTorch does, on a network of a few layers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from mmkd.analysis.runtimes import RUNTIMES, Predict, Student, installed_runtimes
from mmkd.deploy.export_files import write_int8, write_onnx
from mmkd.deploy.export_model import ExportModel

SIZE = (24, 40)


class _Network(ExportModel):
    """A convolution beside its PSP pooling, at the size of the images."""

    outputs = ('logits',)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        layers, pool = self.network
        features = layers(images)
        bins = functional.interpolate(pool(features), features.shape[-2:], mode='bilinear')
        both = torch.cat([features, bins], 1)
        return functional.interpolate(both, images.shape[-2:], mode='bilinear')


def export(folder: Path, dynamic: bool) -> Student:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
    module = _Network(nn.Sequential(layers, nn.AdaptiveAvgPool2d(3)), None)
    write_onnx(module, folder / 'student.onnx', SIZE, dynamic, facts={})
    return Student(folder / 'student.onnx', module, torch.rand(1, 3, *SIZE))


@pytest.fixture(scope='module')
def fixed(tmp_path_factory) -> Student:
    return export(tmp_path_factory.mktemp('fixed'), dynamic=False)


@pytest.fixture(scope='module')
def dynamic(tmp_path_factory) -> Student:
    return export(tmp_path_factory.mktemp('dynamic'), dynamic=True)


def assert_equals_pytorch(predict: Predict, student: Student, size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    (found,) = predict(images)
    expected = student.module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', RUNTIMES)
def test_runtime_of_a_fixed_student_computes_what_pytorch_does(name, fixed):
    if name not in installed_runtimes():
        pytest.skip(f'needs {RUNTIMES[name][0]}')
    loaded = RUNTIMES[name][1](fixed)
    assert_equals_pytorch(loaded.predict, fixed, SIZE)
    assert loaded.size >= 4 * sum(x.numel() for x in fixed.module.parameters())
    assert list(fixed.path.parent.iterdir()) == [fixed.path]  # a converter leaves nothing there


@pytest.mark.parametrize('name', ['onnxruntime', 'OpenVINO', 'MNN', 'tract'])
def test_runtime_of_a_dynamic_student_computes_every_size(name, dynamic):
    if name not in installed_runtimes():
        pytest.skip(f'needs {RUNTIMES[name][0]}')
    predict = RUNTIMES[name][1](dynamic).predict
    for size in (SIZE, (33, 47), (13, 64)):
        assert_equals_pytorch(predict, dynamic, size)


def test_bins_of_a_dynamic_student_compare_no_booleans(dynamic):
    # tract has no Equal of booleans, by which floor division is exported.
    assert 'Equal' not in {node.op_type for node in onnx.load(dynamic.path).graph.node}


def test_student_of_each_form_says_what_it_is(fixed, dynamic, tmp_path):
    assert not fixed.is_dynamic and not fixed.is_quantised and dynamic.is_dynamic
    write_int8(fixed.path, tmp_path / 'int8.onnx', [fixed.example])
    quantised = Student(tmp_path / 'int8.onnx', fixed.module, fixed.example)
    assert quantised.is_quantised and not quantised.is_dynamic


def test_dynamic_student_of_8_bits_is_dynamic(dynamic, tmp_path):
    write_int8(dynamic.path, tmp_path / 'int8.onnx', [dynamic.example])
    quantised = Student(tmp_path / 'int8.onnx', dynamic.module, dynamic.example)
    assert quantised.is_quantised and quantised.is_dynamic


def test_onnxruntime_of_a_file_with_another_weight_differs(fixed, tmp_path):
    model = onnx.load(fixed.path)
    weight = next(x for x in model.graph.initializer if x.dims == [4, 3, 3, 3])
    changed = onnx.numpy_helper.to_array(weight) + 0.1
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    onnx.save(model, tmp_path / 'changed.onnx')
    other = Student(tmp_path / 'changed.onnx', fixed.module, fixed.example)
    images = fixed.example.numpy()
    (found,), (expected,) = (
        RUNTIMES[name][1](other).predict(images) for name in ('onnxruntime', 'PyTorch')
    )
    assert np.abs(found - expected).max() > 0.01
