"""Features found in a network: where, at which stride, and whether their map says anything."""

import pytest
import torch
from torch import nn

from mmkd.analysis.feature_survey import (
    Feature,
    block_paths,
    inner_paths,
    outer_paths,
    survey_features,
)


class Pyramid(nn.Module):
    """Two features that can be worked out by hand, of strides 4 and 8."""

    def forward(self, x):
        rows = torch.arange(8.0).view(1, 1, 8, 1).expand(2, 3, 8, 16)
        return [rows, torch.ones(2, 5, 4, 8)]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Pyramid()
        self.decode_head = nn.Sequential(nn.Conv2d(5, 7, 1), nn.ReLU())
        self.auxiliary_head = nn.Sequential(nn.Conv2d(5, 7, 1))

    def forward(self, x):
        return self.decode_head(self.backbone(x)[1])


@pytest.fixture
def found():
    network = Network()
    paths = [*outer_paths(network), *inner_paths(network)]
    return survey_features(network, lambda: network(torch.rand(2, 3, 32, 64)), (32, 64), paths)


def test_survey_lists_every_part_with_stride_and_channels(found):
    seen = [(f.tap, f.channels, f.size, f.stride) for f in found]
    assert seen == [
        ('backbone[0]', 3, (8, 16), 4.0),
        ('backbone[1]', 5, (4, 8), 8.0),
        ('decode_head.0', 7, (4, 8), 8.0),
    ]


def test_survey_variation_is_deviation_over_mean_of_the_map(found):
    heat = 3 * torch.arange(8.0).square().repeat_interleave(16)
    assert found[0].variation == pytest.approx((heat.std() / heat.mean()).item(), rel=1e-5)


def test_survey_constant_feature_has_no_map(found):
    assert found[0].has_map and not found[1].has_map


def test_survey_layer_norm_output_has_no_map():
    features = nn.LayerNorm(64)(torch.randn(2, 8, 8, 64)).permute(0, 3, 1, 2)
    network = nn.Module()
    network.backbone = nn.Identity()
    (feature,) = survey_features(
        network, lambda: network.backbone(features), (32, 32), ['backbone']
    )
    assert not feature.has_map


def test_survey_tapped_attention_is_left_out():
    network = nn.Module()
    network.layer = nn.MultiheadAttention(8, 2)
    x = torch.rand(4, 2, 8)
    found = survey_features(network, lambda: network.layer(x, x, x), (32, 64), ['attention(layer)'])
    assert found == []


def test_survey_module_that_does_not_run_is_left_out():
    network = Network()
    found = survey_features(network, lambda: None, (32, 64), ['backbone', 'auxiliary_head.0'])
    assert found == []


def test_inner_paths_leave_out_backbone_and_auxiliary_heads():
    assert inner_paths(Network()) == ['decode_head.0']


def test_inner_paths_leave_out_the_scores_of_classes():
    network = nn.ModuleDict(
        dict(
            decode_head=nn.ModuleDict(dict(conv_seg=nn.Conv2d(5, 7, 1), fusion=nn.Conv2d(5, 5, 1)))
        )
    )
    assert inner_paths(network) == ['decode_head.fusion']


def test_block_paths_are_the_groups_of_layers_in_the_backbone():
    stages = nn.ModuleList([nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1)), nn.ReLU())])
    network = nn.ModuleDict(
        dict(backbone=nn.ModuleDict(dict(stages=stages)), neck=nn.Sequential(nn.Conv2d(4, 4, 1)))
    )
    assert block_paths(network) == ['backbone.stages.0', 'backbone.stages.0.0']


def test_feature_needs_variation_above_the_least():
    feature = dict(tap='a', channels=1, size=(2, 2), stride=8.0)
    assert Feature(**feature, variation=0.02).has_map
    assert not Feature(**feature, variation=0.019).has_map
