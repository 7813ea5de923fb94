"""Folded BatchNorms: the same outputs, taps and weights, without a pass over each feature map."""

import copy

import pytest
import torch
from batch_norms import count_batch_norms
from mmseg.registry import MODELS

from mmkd.distillation.recording import record
from mmkd.distillation.tap import parse_tap
from mmkd.openmmlab.lean import make_lean
from mmkd.openmmlab.lean_batch_norm import fold_batch_norms

BLOCK = 'backbone.timm_model.blocks.1.0'


def make_network(name='tf_efficientnet_lite0'):
    """An EfficientNet under SegFormer's head; no BatchNorm is near the identity."""
    torch.manual_seed(0)
    network = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='TIMMBackbone',
                model_name=name,
                features_only=True,
                pretrained=False,
                out_indices=(1, 2, 3, 4),
            ),
            decode_head=dict(
                type='SegformerHead',
                in_channels=[24, 40, 112, 320],
                in_index=[0, 1, 2, 3],
                channels=8,
                num_classes=3,
                norm_cfg=dict(type='BN'),
            ),
        )
    )
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    make_lean(network)
    return network.eval()


def folded(network, tapped=()):
    network = copy.deepcopy(network)
    fold_batch_norms(network, tapped)
    return network


def images(size=(64, 96)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def outputs(network, taps=()):
    taps = [parse_tap(tap) for tap in taps]
    with torch.no_grad(), record(network, taps) as recording:
        logits = network(images())
    return [logits, *(recording[tap] for tap in taps)]


def assert_same(found, expected):
    for each, other in zip(found, expected, strict=True):
        torch.testing.assert_close(each, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


# The first pads as TensorFlow does, in a convolution of its own type.
@pytest.mark.parametrize('name', ['tf_efficientnet_lite0', 'efficientnet_lite0'])
def test_outputs_stay_and_no_batch_norm_is_computed(name):
    network = make_network(name)
    lean = folded(network)
    taps = ['backbone[1]', 'backbone[3]', 'decode_head.convs.3', 'decode_head.fusion_conv']
    plain_count, expected = count_batch_norms(outputs, network, taps)
    count, found = count_batch_norms(outputs, lean, taps)
    assert plain_count == sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    assert count == 0
    assert_same(found, expected)


def test_weights_and_names_stay():
    network = make_network()
    lean = folded(network)
    fold_batch_norms(lean)
    state = lean.state_dict()
    assert list(state) == list(network.state_dict())
    assert all(torch.equal(state[k], v) for k, v in network.state_dict().items())
    assert [n for n, _ in lean.named_modules()] == [n for n, _ in network.named_modules()]


@pytest.mark.parametrize(
    'tap',
    [
        'backbone.timm_model.conv_stem',
        'backbone.timm_model.bn1',
        f'{BLOCK}.conv_dw',
        f'{BLOCK}.bn3',
        'decode_head.fusion_conv.conv',
        'decode_head.convs.0.conv',
    ],
)
def test_tap_inside_a_pair_reads_what_it_names(tap):
    network = make_network()
    assert_same(outputs(folded(network, [tap]), [tap]), outputs(network, [tap]))


def test_training_mode_runs_as_before():
    network = make_network()
    lean = folded(network).train()
    network.train()
    lean.decode_head.dropout = network.decode_head.dropout = torch.nn.Identity()
    torch.testing.assert_close(lean(images()), network(images()), rtol=0, atol=0)
    mean = 'decode_head.fusion_conv.bn.running_mean'
    assert torch.equal(lean.state_dict()[mean], network.state_dict()[mean])


def test_copy_shares_nothing():
    lean = folded(make_network())
    other = copy.deepcopy(lean)
    expected = outputs(lean)
    with torch.no_grad():
        for module in other.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.zero_()
    assert_same(outputs(lean), expected)
    assert not torch.equal(outputs(other)[0], expected[0])


def test_gradient_of_the_input_stays():
    network = make_network().double()  # rounding moves values over the activations' corners
    gradients = []
    for each in (network, folded(network)):
        x = images().double().requires_grad_()
        gradients.append(torch.autograd.grad(each(x).square().sum(), x))
    assert_same(gradients[1], gradients[0])


def test_batch_norm_without_running_statistics_stays():
    network = make_network()
    head = network.decode_head
    for module in (*head.convs, head.fusion_conv):
        old = module.norm
        new = torch.nn.BatchNorm2d(old.num_features, track_running_stats=False)
        setattr(module, module.norm_name, new)
    assert_same(outputs(folded(network)), outputs(network))


def test_other_networks_stay():
    block = make_network().get_submodule(BLOCK)
    model = torch.nn.Sequential(block)
    fold_batch_norms(model)
    assert not any('forward' in vars(module) for module in model.modules())
