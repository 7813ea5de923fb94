"""YOLO11 networks with the weights and inputs that made the reference's fixtures."""

import ast
import importlib.util
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmkd.config.load import load_config
from mmkd.models.yolo11.published_weights import convert_weights
from mmkd.registry import MODELS


@dataclass
class Reference:
    """A fixture: what it holds, the published names' weights, the input, and the network here."""

    outputs: dict[str, np.ndarray]
    published: dict[str, Tensor]
    images: Tensor
    network: nn.Module

    def tensor(self, name: str) -> Tensor:
        return torch.as_tensor(self.outputs[name])


@pytest.fixture(autouse=True)
def _mmdet_scope(_mmseg_scope):
    init_default_scope('mmdet')


@pytest.fixture
def build():
    """Builds YOLO11 of a scale from its base config."""

    def build(scale: str, num_classes: int = 20) -> nn.Module:
        config = load_config(f'configs/_base_/models/yolo11_{scale}.py').model
        config.bbox_head.num_classes = num_classes
        torch.manual_seed(0)
        return MODELS.build(config)

    return build


@pytest.fixture
def reference(shared, build):
    """Loads the fixture of a name."""
    spec = importlib.util.spec_from_file_location('fill', shared / 'parity/fill.py')
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)

    def load(name: str) -> Reference:
        outputs = dict(np.load(shared / 'parity' / f'{name}.npz'))
        names = (line.split(' ', 1) for line in outputs['keys'])
        salt = str(outputs['salt'])
        shapes = {key: torch.empty(ast.literal_eval(shape)) for key, shape in names}
        published = fill.fill_state_dict(shapes, salt)
        published['model.23.dfl.conv.weight'] = torch.arange(16.0).view(1, 16, 1, 1)
        network = build('n', 3).eval()
        network.load_state_dict(convert_weights(published)[1])
        images = fill.make_input(tuple(outputs['input_shape']), salt)
        return Reference(outputs, published, images, network)

    return load
