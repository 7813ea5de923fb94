import copy

import pytest
import torch
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.losses.affinities import QueryKeyAffinity


def feature(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(x, nodes, **options):
    torch.manual_seed(0)
    affinity = QueryKeyAffinity(**options)
    return affinity, affinity(x, nodes)


def test_query_key_affinity_equals_two_convolutions():
    x = feature(2, 5, 4, 6)
    affinity, weights = build(x, (2, 3), channels=4, heads=3)
    query, key = (
        functional.avg_pool2d(functional.conv2d(x, w[..., None, None]), 2).view(2, 3, 4, 6)
        for w in affinity.weight
    )
    expected = (torch.einsum('bhci,bhcj->bhij', query, key) / 2).softmax(-1)
    assert weights.shape == (2, 3, 6, 6)
    torch.testing.assert_close(weights, expected)


def test_query_key_affinity_learns_what_cosines_cannot():
    # A directed ring: every node draws from the one after it.
    x = torch.eye(6).reshape(1, 6, 2, 3)
    affinity, _ = build(x, (2, 3), channels=6)
    ring = torch.eye(6).roll(1, 1)
    optimizer = torch.optim.Adam(affinity.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        distance = (affinity(x, (2, 3))[0, 0] - ring).square().sum()
        distance.backward()
        optimizer.step()
    assert distance < 0.05


def test_query_key_affinity_is_sized_by_first_feature_only():
    affinity, _ = build(feature(1, 5, 2, 2), (2, 2), channels=4, heads=2)
    assert affinity.weight.shape == (2, 8, 5)
    with pytest.raises(UserError, match='7 channels: expected 5'):
        affinity(feature(1, 7, 2, 2), (2, 2))


def test_query_key_affinity_weights_survive_a_checkpoint():
    x = feature(1, 5, 2, 3)
    affinity, weights = build(x, (2, 3), channels=4)
    fresh = QueryKeyAffinity(channels=4)
    fresh.load_state_dict(affinity.state_dict())
    torch.testing.assert_close(fresh(x, (2, 3)), weights)
    torch.testing.assert_close(copy.deepcopy(affinity)(x, (2, 3)), weights)


@pytest.mark.parametrize('options', [dict(channels=0), dict(heads=0), dict(heads=True)])
def test_query_key_affinity_bad_counts_raise_user_error(options):
    ((name, value),) = options.items()
    with pytest.raises(UserError, match=f'{name}={value}: expected an integer >= 1'):
        QueryKeyAffinity(**options)
