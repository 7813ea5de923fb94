import math

import numpy as np
import torch

from mmkd.distillation.recording import Recording
from mmkd.distillation.tap import INPUT_GRADIENT, parse_tap
from mmkd.distillation.term import build_term
from mmkd.ops.attention_readings import Attention, ScanInputs
from mmkd.ops.hidden_attention import hidden_attention, merge_attention
from mmkd.visualization.distillation import attention_received, pull_maps, spectrum, tap_map


def test_spectrum_of_a_wave_is_two_symmetric_points():
    columns = torch.arange(16) * 2 * math.pi * 3 / 16
    feature = columns.cos().expand(2, 8, 16)
    amplitude = spectrum(feature)
    expected = np.zeros((8, 16))
    # sqrt(8 * 16) / 2 at the frequencies -3 and 3, in the middle row.
    expected[4, [8 - 3, 8 + 3]] = math.log1p(math.sqrt(128) / 2)
    np.testing.assert_allclose(amplitude, expected, atol=1e-5)


def test_tap_map_of_feature_equals_map_of_its_loss():
    loss = dict(type='ActivationATLoss', mapping='max', p=4)
    term = build_term('at', dict(student='neck', teacher='neck', loss=loss))
    feature = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        tap_map(term, parse_tap('neck'), feature), feature.abs().amax(1).pow(4)
    )
    torch.testing.assert_close(tap_map(term, INPUT_GRADIENT, feature), feature.abs().sum(1))
    assert tap_map(term, parse_tap('neck'), feature[0]) is None


def test_pull_maps_equal_gradient_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 2, 3, 4, 5, generator=generator)
    recordings = student, teacher = Recording(['neck']), Recording(['neck'])
    for recording, feature in zip(recordings, features, strict=True):
        recording.add('neck', feature)
    term = build_term(
        'hint', dict(student='neck', teacher='neck', loss=dict(type='FeatureMSELoss'))
    )
    expected = 2 * (features[0] - features[1]).norm(dim=1) / features[0].numel()
    with torch.no_grad():  # as networks are read
        pulls = pull_maps(term, *recordings)
    torch.testing.assert_close(pulls, {parse_tap('neck'): expected})
    assert not student[parse_tap('neck')].requires_grad


def test_pull_maps_without_grid_are_empty():
    recording = Recording(['attn'])
    recording.add('attn', Attention(torch.randn(1, 2, 6, 4), torch.randn(1, 2, 4, 4)))
    term = build_term(
        'graph', dict(student='attn', teacher='attn', loss=dict(type='FeatureMSELoss'))
    )
    assert pull_maps(term, recording, recording) == {}


def test_attention_received_is_mean_over_heads_and_queries():
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 2, 6, 4, generator=generator)
    key = torch.randn(1, 2, 4, 4, generator=generator)
    attention = Attention(query, key, grid=(2, 3), key_grid=(2, 2))
    received = attention_received(attention)
    expected = 4 * (query @ key.mT / 2).softmax(-1).mean((1, 2)).view(1, 2, 2)
    torch.testing.assert_close(received, expected)
    torch.testing.assert_close(received.mean(), torch.tensor(1.0))
    assert attention_received(Attention(query, key)) is None


def test_attention_received_of_scan_is_from_its_positions():
    generator = torch.Generator().manual_seed(0)
    delta, bias = torch.randn(1, 8, 6, generator=generator), torch.zeros(8)
    b, c = torch.randn(2, 1, 4, 1, 6, generator=generator)
    scan = ScanInputs(delta, -torch.ones(8, 1), b, c, bias, grid=(2, 3))
    drawn = merge_attention(hidden_attention(delta.exp().log1p(), scan.A, b.abs(), c.abs()), 2, 3)[
        0
    ]
    drawn = drawn / drawn.sum(1, keepdim=True)  # of each position's own, one in all
    torch.testing.assert_close(attention_received(scan)[0], drawn.sum(0).view(2, 3))
