import pytest
import torch
from torch import nn
from torch.nn import functional

from mmkd.complexity import flop_count, parameter_count
from mmkd.configs import load_config
from mmkd.inference import build_network
from mmkd.ops.selective_scan import selective_scan


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
def test_multiply_adds_are_those_of_the_definition(mix, expected):
    assert flop_count(Network(mix).eval(), (12, 20)) == EMBED + expected


def test_a_segformer_is_as_its_paper_says():
    # Xie et al., NeurIPS 2021, table 1a: MiT-B0 with its head has 3.8 M parameters and 8.4 G
    # multiply-adds at 512 x 512 with ADE20K's 150 classes; the attention is part of that.
    config = load_config('mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py')
    config.model.backbone.init_cfg = None
    network = build_network(config)
    assert parameter_count(network) / 1e6 == pytest.approx(3.8, abs=0.1)
    assert flop_count(network, (512, 512)) / 1e9 == pytest.approx(8.4, rel=0.05)


def test_auxiliary_heads_do_not_count():
    config = load_config('configs/students/fast_scnn_streets.py')
    network = build_network(config)
    config.model.auxiliary_head = None
    assert parameter_count(network) == parameter_count(build_network(config))
