import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.ops.nodes import (
    MAX_NODES,
    _shares,
    check_nodes,
    node_grid,
    pool_features,
    pool_keys,
    pool_queries,
)

grids = st.tuples(st.integers(1, 7), st.integers(1, 7))


def rand(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=3))
def test_node_grid_fits_every_grid_and_the_limit(sizes):
    h, w = node_grid(*sizes)
    assert 1 <= h <= min(s[0] for s in sizes) and 1 <= w <= min(s[1] for s in sizes)
    assert h * w <= MAX_NODES


@pytest.mark.parametrize(
    'sizes, expected',
    [([(24, 32), (12, 16)], (12, 16)), ([(32, 32)], (32, 32)), ([(128, 256)], (22, 45))],
)
def test_node_grid_keeps_aspect_ratio(sizes, expected):
    assert node_grid(*sizes) == expected


@pytest.mark.parametrize('nodes', [(0, 4), (4,), (33, 32), (2.0, 3), (True, 3), 'ab', 7])
def test_node_grid_bad_nodes_raise_user_error(nodes):
    with pytest.raises(UserError, match='expected .*at most 1024') as error:
        check_nodes(nodes)
    assert repr(nodes) in str(error.value)


def test_pool_features_whole_blocks_are_means():
    x = rand(2, 3, 12, 16)
    torch.testing.assert_close(pool_features(x, (4, 8)), functional.avg_pool2d(x, (3, 2)))


@pytest.fixture
def _narrow_default_type():
    before = torch.get_default_dtype()
    _shares.cache_clear()
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(before)
    _shares.cache_clear()


@pytest.mark.usefixtures('_narrow_default_type')
def test_pool_features_default_type_does_not_round_the_shares():
    # Of 7 cells each of 3 nodes has 2 1/3; the third and the fifth cell are divided.
    x = torch.arange(1.0, 8, dtype=torch.float64).view(1, 7)
    expected = [
        (1 + 2 + 3 / 3) * 3 / 7,
        (3 * 2 / 3 + 4 + 5 * 2 / 3) * 3 / 7,
        (5 / 3 + 6 + 7) * 3 / 7,
    ]
    assert pool_features(x, (1, 3)).flatten().tolist() == pytest.approx(expected, rel=1e-14)
    assert pool_queries(x.mT, (1, 7), (1, 3)).flatten().tolist() == pytest.approx(
        expected, rel=1e-14
    )


def test_pool_features_border_cell_is_shared_by_area():
    # Three cells to two nodes: the middle one lies half in each.
    x = torch.tensor([[3.0, 6.0, 12.0]], dtype=torch.float64)
    expected = torch.tensor([[(3 + 6 / 2) / 1.5, (6 / 2 + 12) / 1.5]], dtype=torch.float64)
    torch.testing.assert_close(pool_features(x, (1, 2)), expected)
    expected = torch.tensor([[3 + 6 / 2, 6 / 2 + 12]], dtype=torch.float64)
    torch.testing.assert_close(pool_keys(x, (1, 3), (1, 2)), expected)


@given(grids, grids)
def test_pool_features_keeps_the_mean(grid, nodes):
    x = rand(2, *grid)
    torch.testing.assert_close(pool_features(x, nodes).mean((1, 2)), x.mean((1, 2)))


@settings(deadline=None)
@given(grids, grids, grids)
def test_pool_attention_keeps_row_sums(grid, key_grid, nodes):
    n, m = grid[0] * grid[1], key_grid[0] * key_grid[1]
    weights = rand(2, 3, n, m).softmax(-1) * torch.arange(1, n + 1)[:, None]
    keys = pool_keys(weights, key_grid, nodes)
    torch.testing.assert_close(keys.sum(-1), weights.sum(-1))
    rows = pool_queries(rand(2, 3, n, m).softmax(-1), grid, nodes)
    assert rows.shape == (2, 3, nodes[0] * nodes[1], m)
    torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows.sum(-1)))


def test_pool_attention_pools_rows_by_token_position():
    weights = rand(6 * 8, 5)
    expected = weights.reshape(3, 2, 4, 2, 5).mean((1, 3)).flatten(0, 1)
    torch.testing.assert_close(pool_queries(weights, (6, 8), (3, 4)), expected)
    expected = weights.mT.reshape(5, 3, 2, 4, 2).sum((2, 4)).flatten(1)
    torch.testing.assert_close(pool_keys(weights.mT.contiguous(), (6, 8), (3, 4)), expected)
