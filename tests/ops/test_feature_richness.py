import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmkd.ops.feature_richness import (
    feature_richness,
    rich_box_divergence,
    rich_cross_entropy,
    richness_weighted_mse,
)


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_loops(student, teacher, richness, at):
    """The weighted mean as the paper writes it: sums over samples, positions and channels."""
    n, c, h, w = student.shape
    numerator = denominator = 0.0
    for i in range(n):
        for y in range(h):
            for x in range(w):
                s = float(richness[i, y, x])
                denominator += s
                for k in range(c):
                    numerator += s * at(float(student[i, k, y, x]), float(teacher[i, k, y, x]))
    return numerator / denominator


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def square(s, t):
    return (t - s) ** 2


def cross_entropy(s, t):
    p, q = sigmoid(s), sigmoid(t)
    return -(q * math.log(p) + (1 - q) * math.log(1 - p))


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 99),
)
def test_richness_weighted_mse_equals_definition(shape, seed):
    student, teacher = rand(*shape, seed=seed), rand(*shape, seed=seed + 100)
    scores = rand(shape[0], 3, *shape[2:], seed=seed + 200)
    richness = feature_richness(scores)
    for y in range(shape[2]):
        for x in range(shape[3]):
            highest = max(sigmoid(float(scores[0, k, y, x])) for k in range(3))
            assert float(richness[0, y, x]) == pytest.approx(highest, rel=1e-12)
    for function, at in ((richness_weighted_mse, square), (rich_cross_entropy, cross_entropy)):
        value = float(function(student, teacher, richness))
        assert value == pytest.approx(by_loops(student, teacher, richness, at), rel=1e-10)


def test_richness_weighted_mse_equals_hand_value():
    """Two locations, of richness 1/2 and 1/4; squares 4 + 1 and 9 over the channels."""
    richness = torch.tensor([[[0.5, 0.25]]])
    student = torch.tensor([[[[0.0, 0.0]], [[0.0, 0.0]]]])
    teacher = torch.tensor([[[[2.0, 3.0]], [[1.0, 0.0]]]])
    value = richness_weighted_mse(student, teacher, richness)
    assert float(value) == pytest.approx((0.5 * 5 + 0.25 * 9) / 0.75)


def test_richness_weighted_mse_normalises_over_the_batch():
    """An image where the teacher finds nothing counts little, not as much as the others."""
    student, teacher = torch.zeros(2, 1, 1, 1), torch.tensor([1.0, 10.0]).view(2, 1, 1, 1)
    richness = torch.tensor([0.99, 0.01]).view(2, 1, 1)
    value = richness_weighted_mse(student, teacher, richness)
    assert float(value) == pytest.approx(0.99 * 1 + 0.01 * 100)


@pytest.mark.parametrize(
    'function', [richness_weighted_mse, rich_cross_entropy, rich_box_divergence]
)
def test_richness_weighted_mse_without_richness_is_zero_with_zero_gradient(function):
    student = rand(1, 8, 3, 3).requires_grad_()
    value = function(student, torch.zeros(1, 8, 3, 3), torch.zeros(1, 3, 3))
    value.backward()
    assert value == 0 and student.grad.abs().sum() == 0


def test_richness_weighted_mse_ignores_scale_of_richness():
    student, teacher, richness = rand(2, 8, 4, 5), rand(2, 8, 4, 5, seed=1), rand(2, 4, 5).abs()
    for function in (richness_weighted_mse, rich_cross_entropy, rich_box_divergence):
        torch.testing.assert_close(
            function(student, teacher, richness), function(student, teacher, 1e-3 * richness)
        )


@given(st.integers(2, 5), st.sampled_from([0.5, 1.0, 10.0]), st.integers(0, 99))
def test_rich_box_divergence_equals_definition(bins, tau, seed):
    """The sides' bins follow each other in the channels."""
    student, teacher = rand(2, 4 * bins, 1, 2, seed=seed), rand(2, 4 * bins, 1, 2, seed=seed + 100)
    richness = feature_richness(rand(2, 3, 1, 2, seed=seed + 200))

    def probabilities(logits):
        powers = [math.exp(float(logit) / tau) for logit in logits]
        return [power / sum(powers) for power in powers]

    numerator = 0.0
    for image in range(2):
        for x in range(2):
            for side in range(4):
                part = (image, slice(bins * side, bins * (side + 1)), 0, x)
                pairs = zip(probabilities(student[part]), probabilities(teacher[part]), strict=True)
                divergence = tau**2 * sum(t * math.log(t / s) for s, t in pairs)
                numerator += float(richness[image, 0, x]) * divergence / 4
    value = float(rich_box_divergence(student, teacher, richness, tau))
    assert value == pytest.approx(numerator / float(richness.sum()), rel=1e-8)
