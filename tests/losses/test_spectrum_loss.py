import pytest
import torch

from mmkd.errors import UserError
from mmkd.losses import SpectrumLoss
from mmkd.losses.affinities import SimilarityAffinity
from mmkd.ops.attention_readings import Attention

NODES = 12


def rand(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def attention(heads=2, keys=NODES, seed=0, key_grid=(3, 4)):
    query, key = 2 * rand(2, heads, NODES, 4, seed=seed), rand(2, heads, keys, 4, seed=seed + 1)
    return Attention(query, key, (3, 4), key_grid)


def spectrum(weights, graph):
    """All eigenvalues of the graph of one head, leading ones first."""
    matrix = (weights + weights.T) / 2
    if graph == 'adjacency':
        return torch.linalg.eigvalsh(matrix).flip(0)
    root = torch.diag(matrix.sum(1) ** -0.5)
    return torch.linalg.eigvalsh(torch.eye(NODES) - root @ matrix @ root)


@pytest.mark.parametrize('graph', ['adjacency', 'laplacian'])
@pytest.mark.parametrize('k', [3, 30])
def test_spectrum_loss_equals_definition(graph, k):
    x, teacher = rand(2, 5, 3, 4, seed=9), attention()
    student = SimilarityAffinity()(x, (3, 4))
    differences = [
        (
            spectrum(student[i, 0], graph)
            - sum(spectrum(w, graph) for w in teacher.affinity()[i]) / 2
        )[:k]
        for i in range(2)
    ]
    expected = sum(d.norm() for d in differences) / 2
    torch.testing.assert_close(SpectrumLoss(graph=graph, k=k)(x, teacher), expected)
    expected = sum(d.abs().mean() for d in differences) / 2
    loss = SpectrumLoss(graph=graph, k=k, distance='wasserstein')
    torch.testing.assert_close(loss(x, teacher), expected)


def test_spectrum_loss_wasserstein_equals_optimal_transport():
    x, y = rand(1, 5, 1, 4), rand(1, 5, 1, 4, seed=1)
    a, b = (
        torch.linalg.eigvalsh((w + w.T) / 2)
        for w in (SimilarityAffinity()(z, (1, 4))[0, 0] for z in (x, y))
    )
    least = min((a[list(order)] - b).abs().mean() for order in torch.cartesian_prod(
        *[torch.arange(4)] * 4).tolist() if len(set(order)) == 4)  # fmt: skip
    torch.testing.assert_close(SpectrumLoss(k=4, distance='wasserstein')(x, y), least)


@pytest.mark.parametrize('graph', ['adjacency', 'laplacian'])
def test_spectrum_loss_ignores_node_order(graph):
    x, y = rand(1, 5, 1, NODES), rand(1, 5, 1, NODES, seed=1)
    loss = SpectrumLoss(graph=graph, k=6)
    torch.testing.assert_close(loss(x.roll(5, -1), y), loss(x, y))
    torch.testing.assert_close(loss(x.roll(5, -1), x), torch.zeros(()).double(), rtol=0, atol=1e-9)


def test_spectrum_loss_of_equal_graphs_is_zero():
    for graph in ('adjacency', 'laplacian'):
        loss = SpectrumLoss(graph=graph, k=6)
        assert loss(attention(), attention()) == 0
        assert loss(attention(keys=4, key_grid=(2, 2)), attention(keys=4, key_grid=(2, 2))) == 0
        assert loss(attention(), attention(seed=5)) > 0.01


def test_spectrum_loss_reduced_keys_have_trace_one():
    x, teacher = rand(2, 5, 3, 4, seed=9), attention(heads=1, keys=4, key_grid=(2, 2))
    expected = 0
    for s, t in zip(SimilarityAffinity()(x, (3, 4))[:, 0], teacher.affinity()[:, 0], strict=True):
        grams = [a @ a.T / (a @ a.T).trace() for a in (s, t)]
        values = [torch.linalg.eigvalsh(g).flip(0)[:6] for g in grams]
        expected += (values[0] - values[1]).norm() / 2
    torch.testing.assert_close(SpectrumLoss(k=6)(x, teacher), expected)


def test_spectrum_loss_select_ignores_heads_without_objects():
    # Two groups in one head; in the other every patch attends to itself.
    groups = torch.eye(NODES, dtype=torch.float64)[torch.arange(NODES) % 2] * 20
    both = torch.stack([groups, torch.eye(NODES, dtype=torch.float64) * 20])[None]
    x = rand(1, 5, 3, 4)
    alone = SpectrumLoss()(x, Attention(both[:, :1], both[:, :1], (3, 4), (3, 4)))
    together = Attention(both, both, (3, 4), (3, 4))
    torch.testing.assert_close(SpectrumLoss(heads='select', rank=2)(x, together), alone)
    assert abs(SpectrumLoss(heads='mean')(x, together) - alone) > 0.1


@pytest.mark.parametrize('make', [torch.zeros, torch.ones], ids=['zero', 'constant'])
@pytest.mark.parametrize('graph', ['adjacency', 'laplacian'])
def test_spectrum_loss_repeated_eigenvalues_have_finite_gradients(graph, make):
    # All patches look alike: every eigenvalue but one is 0, as often as there are nodes.
    x = make(1, 3, 4, 5).requires_grad_()
    SpectrumLoss(graph=graph)(x, rand(1, 3, 4, 5).float()).backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    'options', [dict(), dict(graph='laplacian'), dict(affinity=dict(type='QueryKeyAffinity'))]
)
def test_spectrum_loss_training_halves_spectrum_distance(options, losses_in_training):
    values = losses_in_training(dict(type='SpectrumLoss', **options), steps=40)
    assert values[-1] <= values[0] / 2


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(graph='line'), "graph='line'"),
        (dict(heads='one'), "heads='one'"),
        (dict(k=0), 'k=0'),
        (dict(rank=0), 'rank=0'),
        (dict(distance='l1'), "distance='l1': expected one of l2, wasserstein"),
        (dict(nodes=(64, 64)), r'nodes=\(64, 64\)'),
    ],
)
def test_spectrum_loss_bad_parameters_raise_user_error(options, message):
    with pytest.raises(UserError, match=message):
        SpectrumLoss(**options)
