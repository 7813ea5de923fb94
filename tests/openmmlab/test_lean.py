"""A lean network: the plain one's losses, gradients and files; detectors stay bit-equal."""

import copy

import pytest
import torch
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from torch.testing import assert_close

from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.openmmlab.lean import make_lean, use_channels_last
from mmkd.openmmlab.samples import synthetic_batch
from mmkd.registry import MODELS


def build(path):
    config = load_config(path)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    return MODELS.build(model_config(config)).train()


def losses_and_gradients(network, batch):
    torch.manual_seed(1)  # dropout
    losses = network(*batch, mode='loss')
    total, _ = network.parse_losses(losses)
    total.backward()
    return total.detach(), {name: p.grad for name, p in network.named_parameters()}


def has_channels_last(network):
    return [
        p.is_contiguous(memory_format=torch.channels_last)
        for p in network.parameters()
        if p.ndim == 4
    ]


@pytest.mark.skipif(get_device() != 'cpu', reason='other devices keep their layout')
@pytest.mark.parametrize('student', ['fast_scnn_streets', 'vmamba_nano_streets'])
def test_make_lean_of_a_segmentor_gives_the_plain_losses_and_gradients(student):
    plain = build(f'configs/students/{student}.py').double()
    lean = copy.deepcopy(plain)
    make_lean(lean)
    use_channels_last(lean)
    assert all(has_channels_last(lean)) and not all(has_channels_last(plain))
    batch = synthetic_batch(plain, (64, 64), 2)
    batch = (batch[0].double(), *batch[1:])
    assert_close(
        losses_and_gradients(lean, batch), losses_and_gradients(plain, batch), rtol=1e-6, atol=1e-9
    )


def test_use_channels_last_keeps_weights_and_their_names():
    plain = build('configs/students/fast_scnn_streets.py')
    lean = copy.deepcopy(plain)
    use_channels_last(lean)
    assert lean.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(lean.state_dict()[k], v) for k, v in plain.state_dict().items())


def test_use_channels_last_leaves_detectors():
    detector = build('configs/students/retinanet_r18half_streets.py')
    use_channels_last(detector)
    assert not all(has_channels_last(detector))


def test_use_channels_last_leaves_dmnet_which_views_its_features():
    init_default_scope('mmseg')
    backbone = dict(type='ResNet', depth=18, base_channels=8, num_stages=2, strides=(1, 2))
    backbone |= dict(dilations=(1, 1), out_indices=(0, 1))
    head = dict(type='DMHead', in_channels=16, in_index=1, channels=8, num_classes=3)
    head |= dict(filter_sizes=(1, 3), norm_cfg=dict(type='BN'))
    network = MODELS.build(dict(type='EncoderDecoder', backbone=backbone, decode_head=head)).eval()
    images = torch.rand(2, 3, 32, 32)
    expected = network(images)
    use_channels_last(network)
    assert torch.equal(network(images), expected)
