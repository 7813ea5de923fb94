import pytest
import torch

from mmkd.errors import UserError
from mmkd.losses import SpectralGraphLoss
from mmkd.losses.affinities import SimilarityAffinity
from mmkd.ops.attention_readings import Attention

NODES = 12


def rand(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def attention(heads=2, keys=NODES, seed=0, grid=(3, 4), key_grid=(3, 4)):
    query, key = 2 * rand(2, heads, NODES, 4, seed=seed), rand(2, heads, keys, 4, seed=seed + 1)
    return Attention(query, key, grid, key_grid)


def low_rank(graph, energy, gamma):
    """``U phi(V) U^T`` of one graph, written out."""
    values, vectors = torch.linalg.eigh(graph)
    order = values.abs().argsort(descending=True)
    values, vectors = values[order], vectors[:, order]
    squares = values.square()
    kept = next(m for m in range(1, NODES + 1) if squares[:m].sum() >= energy * squares.sum())
    values, vectors = values[:kept], vectors[:, :kept]
    scaled = values * (values.abs() / values.abs().mean()) ** gamma
    return (vectors * scaled) @ vectors.T  # its size does not matter


def distance(student, target):
    return (student / student.norm() - target / target.norm()).square().sum()


@pytest.mark.parametrize('energy, gamma', [(0.95, 0.5), (0.8, 0.0), (1.0, 1.0), (1.0, 0.0)])
def test_spectral_graph_loss_equals_definition(energy, gamma):
    x, teacher = rand(2, 5, 3, 4, seed=9), attention()
    expected = 0
    for sample in range(2):
        w = SimilarityAffinity()(x, (3, 4))[sample, 0]
        graph = teacher.affinity()[sample].mean(0)
        expected += distance((w + w.T) / 2, low_rank((graph + graph.T) / 2, energy, gamma)) / 2
    value = SpectralGraphLoss(energy=energy, gamma=gamma)(x, teacher)
    torch.testing.assert_close(value, expected)
    assert 0 < value < 4


def test_spectral_graph_loss_reduced_keys_use_gram_graphs():
    x, teacher = rand(2, 5, 3, 4, seed=9), attention(keys=4, key_grid=(2, 2))
    expected = 0
    for sample in range(2):
        w = SimilarityAffinity()(x, (3, 4))[sample, 0]
        graphs = [a @ a.T / (a @ a.T).trace() for a in teacher.affinity()[sample]]
        expected += distance(w @ w.T, low_rank(sum(graphs), 0.9, 0.5)) / 2
    torch.testing.assert_close(SpectralGraphLoss(energy=0.9)(x, teacher), expected)


def test_spectral_graph_loss_of_equal_graphs_is_zero():
    loss = SpectralGraphLoss(energy=1.0, gamma=0.0)
    assert loss(attention(), attention()) == 0
    assert loss(attention(keys=4, key_grid=(2, 2)), attention(keys=4, key_grid=(2, 2))) == 0
    assert loss(attention(), attention(seed=5)) > 0.01
    # What is cut and scaled is the target alone.
    assert SpectralGraphLoss()(attention(), attention()) > 1e-4


def test_spectral_graph_loss_depends_on_node_order():
    x, order = rand(1, 5, 1, NODES), torch.arange(NODES).roll(5)
    loss = SpectralGraphLoss(energy=1.0, gamma=0.0)
    assert loss(x[..., order], x) > 0.01
    torch.testing.assert_close(loss(x[..., order], rand(1, 5, 1, NODES, seed=1)[..., order]),
                               loss(x, rand(1, 5, 1, NODES, seed=1)))  # fmt: skip


def test_spectral_graph_loss_select_ignores_heads_without_objects():
    # Two groups in one head; in the other every patch attends to itself.
    groups = torch.eye(NODES, dtype=torch.float64)[torch.arange(NODES) % 2] * 20
    both = torch.stack([groups, torch.eye(NODES, dtype=torch.float64) * 20])[None]
    x = rand(1, 5, 3, 4)
    alone = SpectralGraphLoss()(x, Attention(both[:, :1], both[:, :1], (3, 4), (3, 4)))
    together = Attention(both, both, (3, 4), (3, 4))
    torch.testing.assert_close(SpectralGraphLoss(heads='select', rank=2)(x, together), alone)
    assert abs(SpectralGraphLoss(heads='mean')(x, together) - alone) > 0.1


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(energy=1.0, gamma=0.0),
        dict(affinity=dict(type='QueryKeyAffinity', heads=2)),
    ],
    ids=['as in the configs', 'the graph itself', 'learned graph'],
)
def test_spectral_graph_loss_training_halves_graph_distance(options, losses_in_training):
    values = losses_in_training(dict(type='SpectralGraphLoss', **options), steps=40)
    assert values[-1] <= values[0] / 2


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(energy=1.5), 'energy=1.5'),
        (dict(gamma=-1), 'gamma=-1'),
        (dict(heads='one'), "heads='one'"),
        (dict(rank=0), 'rank=0'),
        (dict(nodes=(64, 64)), r'nodes=\(64, 64\)'),
    ],
)
def test_spectral_graph_loss_bad_parameters_raise_user_error(options, message):
    with pytest.raises(UserError, match=message):
        SpectralGraphLoss(**options)
