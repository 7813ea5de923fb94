import pytest
import torch
from torch import nn
from torch.nn import functional

from mmkd.analysis.complexity import flop_count, parameter_count
from mmkd.config.load import load_config
from mmkd.openmmlab.inference import build_network
from mmkd.ops.selective_scan import selective_scan
from mmkd.registry import MODELS


class Network(nn.Module):
    """A 4 x 4 patch embedding into 8 channels, then ``mix`` of the tokens (N, L, 8)."""

    def __init__(self, mix) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4, bias=False)
        self.mix = mix
        self.module = mix if isinstance(mix, nn.Module) else None

    def forward(self, images, data_samples=None, mode='tensor'):
        return self.mix(self.embed(images).flatten(2).transpose(1, 2))


L = 3 * 5  # tokens of a 12 x 20 image
EMBED = L * 8 * 3 * 16


def in_heads(x):
    return x.unflatten(-1, (2, 4)).transpose(1, 2)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


def scan(x):
    u = x.transpose(1, 2)
    rates, weights = -torch.ones(8, 3), torch.ones(1, 1, 3, L)
    return selective_scan(u, u, rates, weights, weights, backend='torch')


@pytest.mark.parametrize(
    'mix, expected',
    [
        (nn.Identity(), 0),
        (nn.Linear(8, 6), L * 8 * 6),
        (lambda x: functional.scaled_dot_product_attention(*[in_heads(x)] * 3), 2 * L * L * 8),
        (lambda x: torch.baddbmm(x @ x.mT, x, x.mT), 2 * L * L * 8),
        # Four projections, the scores, and the sum of values.
        (SelfAttention(), 4 * L * 8 * 8 + 2 * L * L * 8),
        (scan, 9 * L * 8 * 3 + L * 8),
    ],
    ids=['nothing', 'linear', 'sdpa', 'baddbmm', 'multihead', 'scan'],
)
def test_flop_count_equals_definition(mix, expected):
    assert flop_count(Network(mix).eval(), (12, 20)) == EMBED + expected


def test_flop_count_of_segformer_equals_paper():
    # Xie et al., NeurIPS 2021, table 1a: MiT-B0 with its head has 3.8 M parameters and 8.4 G
    # multiply-adds at 512 x 512 with ADE20K's 150 classes; the attention is part of that.
    config = load_config('mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py')
    config.model.backbone.init_cfg = None
    network = MODELS.build(config.model).eval()
    assert parameter_count(network) / 1e6 == pytest.approx(3.8, abs=0.1)
    paper = flop_count(network, (512, 512))
    assert paper / 1e9 == pytest.approx(8.4, rel=0.05)
    # mmkd applies the head's fusion to each of the four maps (strides 4 to 32) at its own size,
    # and not to all four at stride 4.
    saved = 256 * 256 * (3 * 128**2 - 64**2 - 32**2 - 16**2)
    assert flop_count(build_network(config), (512, 512)) == pytest.approx(paper - saved, rel=0.02)


def test_parameter_count_ignores_auxiliary_heads():
    config = load_config('configs/students/fast_scnn_streets.py')
    network = build_network(config)
    config.model.auxiliary_head = None
    assert parameter_count(network) == parameter_count(build_network(config))


def test_parameter_count_includes_the_networks_own():
    network = nn.Module()
    network.body, network.auxiliary_head = nn.Linear(2, 3), nn.Linear(3, 5)
    network.query = nn.Parameter(torch.zeros(7))
    network.auxiliary_head_scale = nn.Parameter(torch.zeros(1))
    assert parameter_count(network) == 2 * 3 + 3 + 7 + 1
