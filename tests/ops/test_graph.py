import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.errors import UserError
from mmkd.ops.graph import (
    adjacency,
    check_gamma,
    check_graph,
    check_heads,
    cosine_affinity,
    gram_graph,
    graph_distance,
    head_weights,
    leading_spectrum,
    low_rank_target,
    scale_eigenvalues,
    spectral_matrix,
)

both_graphs = pytest.mark.parametrize('graph', ['adjacency', 'laplacian'])
direct_and_gram = pytest.mark.parametrize('gram', [False, True])


def rand(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def attention(*shape, seed=0):
    return (2 * rand(*shape, seed=seed)).softmax(-1)


def cliques(*sizes):
    """Patches that draw evenly from all patches of their own group and from no other."""
    blocks = [torch.full((n, n), 1 / n, dtype=torch.float64) for n in sizes]
    return torch.block_diag(*blocks)


def spectrum(weights, k, graph='adjacency', gram=False):
    return leading_spectrum(spectral_matrix(weights, graph, gram), weights.shape[-2], k, graph)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_adjacency_spectrum_counts_disconnected_cliques(sizes):
    weights, nodes, count = cliques(*sizes), sum(sizes), len(sizes)
    found = spectrum(weights, nodes)
    expected = torch.tensor([1.0] * count + [0.0] * (nodes - count), dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    found = spectrum(weights, nodes, 'laplacian')
    torch.testing.assert_close(found, 1 - expected)  # as many zeros as parts
    # What groups draw from in common has the same parts; their weights are shared out of 1.
    torch.testing.assert_close(spectrum(weights, nodes, gram=True), expected / count)
    torch.testing.assert_close(spectrum(weights, nodes, 'laplacian', gram=True), 1 - expected)


@both_graphs
@direct_and_gram
def test_adjacency_spectrum_ignores_node_order(graph, gram):
    weights = attention(2, 3, 9, 9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    shuffled = weights[..., order, :][..., order]
    torch.testing.assert_close(
        spectrum(shuffled, 9, graph, gram), spectrum(weights, 9, graph, gram)
    )


@both_graphs
@pytest.mark.parametrize('keys', [4, 9, 14])
def test_gram_graph_spectrum_equals_definition(graph, keys):
    weights = attention(2, 9, keys)
    matrix = weights @ weights.mT
    matrix = matrix / matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    torch.testing.assert_close(gram_graph(weights), matrix)
    if graph == 'laplacian':
        root = matrix.sum(-1).rsqrt()
        matrix = torch.eye(9).double() - root[:, :, None] * matrix * root[:, None, :]
    values = torch.linalg.eigvalsh(matrix)
    expected = values[:, :6] if graph == 'laplacian' else values.flip(-1)[:, :6]
    torch.testing.assert_close(spectrum(weights, 6, graph, gram=True), expected)
    assert spectral_matrix(weights, graph, gram=True).shape[-1] == min(9, keys)


def test_laplacian_equals_definition():
    weights = attention(9, 9)
    s = (weights + weights.T) / 2
    d = torch.diag(s.sum(1) ** -0.5)
    expected = torch.linalg.eigvalsh(torch.eye(9) - d @ s @ d)
    torch.testing.assert_close(spectrum(weights, 5, 'laplacian'), expected[:5])
    assert abs(expected[0]) < 1e-9 and expected[-1] <= 2


def test_spectrum_of_few_nodes_or_keys_has_as_many_eigenvalues():
    assert spectrum(attention(2, 3, 3), 16).shape == (2, 3)
    assert spectrum(attention(2, 9, 4), 16, gram=True).shape == (2, 9)


@given(st.floats(1e-4, 1e4))
def test_cosine_affinity_ignores_scale(scale):
    x = rand(2, 6, 4)
    weights = cosine_affinity(x, 0.1)
    torch.testing.assert_close(cosine_affinity(x * scale, 0.1), weights)
    cosine = torch.nn.functional.cosine_similarity(x[:, :, None], x[:, None, :], dim=-1)
    torch.testing.assert_close(weights, (cosine / 0.1).softmax(-1))


@pytest.mark.parametrize('energy', [1.0, 1 - 1e-12])
def test_low_rank_target_full_energy_without_scaling_is_identity(energy):
    graph = adjacency(attention(2, 9, 9))
    torch.testing.assert_close(low_rank_target(graph, energy, 0.0), graph, rtol=0, atol=1e-9)


def test_low_rank_target_equals_definition():
    graph = adjacency(attention(9, 9))
    values, vectors = torch.linalg.eigh(graph)
    order = values.abs().argsort(descending=True)
    values, vectors = values[order], vectors[:, order]
    kept = next(m for m in range(1, 10) if values[:m].square().sum() >= 0.9 * graph.square().sum())
    assert 1 < kept < 9
    values, vectors = values[:kept], vectors[:, :kept]
    scaled = values * (values.abs() / values.abs().mean()) ** 0.5
    scaled = scaled * (values.square().sum() / scaled.square().sum()).sqrt()
    expected = vectors @ torch.diag(scaled) @ vectors.T
    torch.testing.assert_close(low_rank_target(graph, 0.9, 0.5), expected)


@settings(deadline=None)
@given(
    st.lists(st.floats(-10, 10).filter(lambda v: abs(v) > 1e-3), min_size=1, max_size=8),
    st.floats(0, 3),
)
def test_low_rank_target_scaling_keeps_energy_and_spreads_eigenvalues(values, gamma):
    values = torch.tensor(values, dtype=torch.float64)
    scaled = scale_eigenvalues(values, gamma)
    torch.testing.assert_close(scaled.square().sum(), values.square().sum())
    assert torch.equal(scaled.sign(), values.sign())
    # Of two, the one of larger magnitude grows more: amplified above the mean, damped below it.
    order = values.abs().argsort()
    growth = (scaled / values)[order]
    assert (growth.diff() >= -1e-9 * growth.max()).all()
    torch.testing.assert_close(scale_eigenvalues(values, 0), values)


def test_low_rank_target_mean_ignores_dropped_eigenpairs():
    values = torch.tensor([3.0, -1.0, 0.0, 0.0])
    torch.testing.assert_close(
        scale_eigenvalues(values, 0.5)[:2], scale_eigenvalues(values[:2], 0.5)
    )
    torch.testing.assert_close(scale_eigenvalues(torch.zeros(3), 0.5), torch.zeros(3))


def test_head_weights_select_heads_with_object_context():
    three_objects = cliques(4, 4, 4)
    nothing = torch.eye(12, dtype=torch.float64)  # every patch for itself: no eigenvalue leads
    noise = 0.1 * attention(12, 12) + 0.9 * nothing
    heads = torch.stack([three_objects, nothing, noise, three_objects])
    shares = head_weights(spectral_matrix(heads[None]), 'select', 3)
    torch.testing.assert_close(shares, torch.tensor([[0.5, 0, 0, 0.5]], dtype=torch.float64))
    alike = spectral_matrix(three_objects.expand(1, 4, 12, 12))
    everyone = torch.full((1, 4), 0.25, dtype=torch.float64)
    assert torch.equal(head_weights(alike, 'select', 3), everyone)
    assert torch.equal(head_weights(spectral_matrix(heads[None]), 'mean', 3), everyone)


def test_graph_distance_ignores_scale():
    a, b = adjacency(attention(3, 6, 6)), adjacency(attention(3, 6, 6, seed=1))
    unit = [x / x.square().sum((1, 2), keepdim=True).sqrt() for x in (a, b)]
    expected = sum(((p - q) ** 2).sum() for p, q in zip(*unit, strict=True)) / 3
    torch.testing.assert_close(graph_distance(a, b), expected)
    torch.testing.assert_close(graph_distance(5 * a, b / 7), expected)
    torch.testing.assert_close(graph_distance(a, -a), torch.tensor(4.0).double())
    assert graph_distance(a, a.clone()) == 0


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: check_graph('line'), "graph='line': expected one of adjacency, laplacian"),
        (lambda: check_heads('all', 4), "heads='all': expected one of mean, select"),
        (lambda: check_heads('select', 0), 'rank=0: expected an integer >= 1'),
        (lambda: check_gamma(-0.5), 'gamma=-0.5: expected a number >= 0'),
        (lambda: check_gamma(float('inf')), 'gamma=inf: expected a number >= 0'),
    ],
)
def test_graph_ops_bad_parameters_raise_user_error(call, message):
    with pytest.raises(UserError, match=message):
        call()
