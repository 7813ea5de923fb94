"""The check of a dynamic file against PyTorch, at sizes that the file was not made with."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from torch import nn
from torch.nn import functional

from mmkd.cli.export_graph import check_against_pytorch, other_sizes, stretches_images
from mmkd.deploy.export_files import write_onnx
from mmkd.deploy.export_model import ExportModel
from mmkd.errors import UserError

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
