import pytest
import torch

from mmkd.affinities import SimilarityAffinity
from mmkd.attention_taps import Attention
from mmkd.errors import UserError
from mmkd.losses import SpectralGraphLoss

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
def test_value_by_its_definition(energy, gamma):
    x, teacher = rand(2, 5, 3, 4, seed=9), attention()
    expected = 0
    for sample in range(2):
        w = SimilarityAffinity()(x, (3, 4))[sample, 0]
        graph = teacher.weights()[sample].mean(0)
        expected += distance((w + w.T) / 2, low_rank((graph + graph.T) / 2, energy, gamma)) / 2
    value = SpectralGraphLoss(energy=energy, gamma=gamma)(x, teacher)
    torch.testing.assert_close(value, expected)
    assert 0 < value < 4


def test_reduced_keys_tie_nodes_by_what_they_share_on_both_sides():
    x, teacher = rand(2, 5, 3, 4, seed=9), attention(keys=4, key_grid=(2, 2))
    expected = 0
    for sample in range(2):
        w = SimilarityAffinity()(x, (3, 4))[sample, 0]
        graphs = [a @ a.T / (a @ a.T).trace() for a in teacher.weights()[sample]]
        expected += distance(w @ w.T, low_rank(sum(graphs), 0.9, 0.5)) / 2
    torch.testing.assert_close(SpectralGraphLoss(energy=0.9)(x, teacher), expected)


def test_equal_graphs_are_at_zero():
    loss = SpectralGraphLoss(energy=1.0, gamma=0.0)
    assert loss(attention(), attention()) == 0
    assert loss(attention(keys=4, key_grid=(2, 2)), attention(keys=4, key_grid=(2, 2))) == 0
    assert loss(attention(), attention(seed=5)) > 0.01
    # What is cut and scaled is the target alone.
    assert SpectralGraphLoss()(attention(), attention()) > 1e-4


def test_which_patches_belong_together_matters():
    x, order = rand(1, 5, 1, NODES), torch.arange(NODES).roll(5)
    loss = SpectralGraphLoss(energy=1.0, gamma=0.0)
    assert loss(x[..., order], x) > 0.01
    torch.testing.assert_close(loss(x[..., order], rand(1, 5, 1, NODES, seed=1)[..., order]),
                               loss(x, rand(1, 5, 1, NODES, seed=1)))  # fmt: skip


def test_heads_without_objects_do_not_count_when_they_are_selected():
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
def test_training_halves_the_distance_of_the_graphs(options, losses_in_training):
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
def test_bad_parameters_are_named(options, message):
    with pytest.raises(UserError, match=message):
        SpectralGraphLoss(**options)
