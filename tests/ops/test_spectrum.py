import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.errors import UserError
from mmkd.ops.spectrum import energy_eigenpairs, leading_eigenpairs, leading_eigenvalues

SIZE = 400  # large enough for a Krylov space where 16 pairs or fewer are asked for


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def symmetric(values, seed=0):
    """A matrix with these eigenvalues (..., N) and random eigenvectors, in float32."""
    size = values.shape[-1]
    basis = torch.linalg.qr(rand(*values.shape[:-1], size, size, seed=seed, dtype=torch.float64))[0]
    return ((basis * values[..., None, :].double()) @ basis.mT).float()


def power_law(size=SIZE):
    """Decaying magnitudes of both signs, as attention has them."""
    values = torch.arange(1, size + 1).double().pow(-1.0)
    values[1::3] *= -1
    return values


def attention_graph(nodes=576, channels=8):
    """Attention between patches of a smooth image of three parts."""
    generator = torch.Generator().manual_seed(0)
    part = torch.arange(nodes) * 3 // nodes
    tokens = 2 * torch.randn(3, channels, generator=generator)[part]
    tokens = tokens + torch.randn(nodes, channels, generator=generator)
    query, key = (tokens @ torch.randn(channels, channels, generator=generator) for _ in range(2))
    weights = (query @ key.T / channels).softmax(-1)
    return (weights + weights.T) / 2


MATRICES = {
    'power law': lambda: symmetric(power_law()),
    'one leads': lambda: symmetric(torch.cat([torch.tensor([50.0]), torch.linspace(1, 0, 399)])),
    'attention': attention_graph,
    'one': lambda: torch.full((SIZE, SIZE), 1 / SIZE),  # uniform attention: rank one
    'rank five': lambda: symmetric(torch.tensor([3.0, -2, 1, 0.5, 0.1] + [0] * (SIZE - 5))),
    'identity': lambda: torch.eye(SIZE),
    'minus identity': lambda: -torch.eye(SIZE),
    'twenty cliques': lambda: torch.block_diag(*[torch.full((20, 20), 1 / 20)] * 20),
    'flat': lambda: symmetric(torch.linspace(-1, 1, SIZE)),
    'large': lambda: symmetric(1e4 * power_law()),
    'tiny': lambda: symmetric(1e-6 * power_law()),
}
every_matrix = pytest.mark.parametrize('name', MATRICES)


@pytest.fixture
def decompositions(monkeypatch):
    """Sizes of the full decompositions that are made."""
    sizes, eigh = [], torch.linalg.eigh

    def spy(matrix):
        sizes.append(matrix.shape[-1])
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, 'eigh', spy)
    return sizes


@every_matrix
@pytest.mark.parametrize('k', [1, 8, 16])
def test_leading_eigenvalues_equal_full_decomposition(name, k):
    matrix = MATRICES[name]()
    expected = torch.linalg.eigvalsh(matrix.double()).flip(0)[:k]
    values, vectors = leading_eigenpairs(matrix, k)
    # To a thousandth, or to the rounding of float32 where an eigenvalue is small beside the first.
    largest = expected.abs().max().item()
    torch.testing.assert_close(values.double(), expected, rtol=1e-3, atol=1e-5 * largest)
    product = vectors.mT @ vectors
    torch.testing.assert_close(product, torch.eye(k), rtol=0, atol=1e-4)
    residual = torch.linalg.vector_norm(matrix @ vectors - vectors * values, dim=0)
    assert residual.max() <= 1.1e-3 * max(largest, values.abs().max())


def test_leading_eigenvalues_krylov_avoids_full_decomposition(decompositions):
    for name in ('power law', 'attention', 'one', 'rank five', 'identity', 'twenty cliques'):
        leading_eigenpairs(MATRICES[name](), 16)
    assert max(decompositions) < SIZE
    decompositions.clear()
    leading_eigenpairs(MATRICES['flat'](), 16)
    assert decompositions[-1] == SIZE  # nothing leads: all would have to be found
    decompositions.clear()
    leading_eigenpairs(MATRICES['power law'](), 32)
    assert decompositions == [SIZE]  # too many for their matrix


def test_leading_eigenpairs_of_batch_equal_those_of_each_matrix():
    matrices = torch.stack([MATRICES[n]() for n in ('power law', 'one', 'rank five', 'large')])
    values, vectors = leading_eigenpairs(matrices[:, None].repeat(1, 2, 1, 1), 8)
    assert values.shape == (4, 2, 8) and vectors.shape == (4, 2, SIZE, 8)
    for matrix, found in zip(matrices, values, strict=True):
        alone = leading_eigenpairs(matrix, 8)[0].expand(2, 8)
        torch.testing.assert_close(found, alone, rtol=1e-3, atol=1e-4 * alone.max().item())


def test_leading_eigenvalues_repeat_and_leave_generators():
    state = torch.get_rng_state()
    first = leading_eigenpairs(MATRICES['power law'](), 8)[0]
    torch.manual_seed(1)
    assert torch.equal(leading_eigenpairs(MATRICES['power law'](), 8)[0], first)
    torch.set_rng_state(state)
    leading_eigenpairs(rand(380, 380), 8)
    assert torch.equal(torch.get_rng_state(), state)


def test_leading_eigenvalues_of_small_matrix_are_all():
    matrix = symmetric(torch.tensor([2.0, -3.0, 1.0]))
    torch.testing.assert_close(leading_eigenvalues(matrix, 16), torch.tensor([2.0, 1.0, -3.0]))


@pytest.mark.parametrize('size', [12, SIZE])
def test_leading_eigenvalues_gradient_equals_full_decomposition(size):
    matrix = symmetric(power_law(size)).double().requires_grad_()
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    value = (leading_eigenvalues(matrix, 3) * weights).sum()
    expected = (torch.linalg.eigvalsh(matrix).flip(0)[:3] * weights).sum()
    (gradient,) = torch.autograd.grad(value, matrix)
    (reference,) = torch.autograd.grad(expected, matrix)
    reference = (reference + reference.T) / 2
    torch.testing.assert_close(gradient, reference, rtol=0, atol=2e-3 if size == SIZE else 1e-9)


def test_leading_eigenvalues_repeated_have_the_gradient_of_their_sum():
    cliques = torch.block_diag(*[torch.full((4, 4), 0.25, dtype=torch.float64)] * 3)
    cliques.requires_grad_()
    leading_eigenvalues(cliques, 3).sum().backward()
    # The sum over a whole group of equal eigenvalues has the projector on them for its gradient.
    torch.testing.assert_close(cliques.grad, cliques.detach())
    cliques.grad = None
    leading_eigenvalues(cliques, 2)[1].backward()
    assert cliques.grad.isfinite().all() and torch.linalg.matrix_norm(cliques.grad) < 1 + 1e-9


def test_leading_eigenpairs_vectors_have_no_gradient():
    matrix = symmetric(power_law(12)).requires_grad_()
    assert not any(x.requires_grad for x in leading_eigenpairs(matrix, 3))
    assert not any(x.requires_grad for x in energy_eigenpairs(matrix, 0.9))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-10, 10).filter(lambda v: abs(v) > 1e-3), min_size=1, max_size=8),
    st.floats(0.01, 1),
)
def test_energy_eigenpairs_are_the_fewest(values, energy):
    values = torch.tensor(values, dtype=torch.float64)
    basis = torch.linalg.qr(rand(len(values), len(values), dtype=torch.float64))[0]
    found, vectors = energy_eigenpairs((basis * values) @ basis.T, energy)
    squares = values.square()
    total = squares.sum()
    largest = squares.sort(descending=True).values
    assert found.square().sum() >= energy * total * (1 - 1e-9)
    torch.testing.assert_close(found.square(), largest[: len(found)])
    assert largest[: len(found) - 1].sum() < energy * total * (1 + 1e-9)
    assert vectors.shape == (len(values), len(found))


@every_matrix
@pytest.mark.parametrize('energy', [0.8, 0.95])
def test_energy_eigenpairs_of_large_matrices_hold_the_energy(name, energy):
    matrix = MATRICES[name]()
    squares = torch.linalg.eigvalsh(matrix.double()).square().sort(descending=True).values
    total = squares.sum()
    values, vectors = energy_eigenpairs(matrix, energy)
    share = values.double().square().sum() / total
    assert share >= energy - 1e-4
    # No fewer would do: without the last one the energy is not reached.
    assert share - values[-1].double().square() / total < energy + 1e-4
    product = vectors.mT @ vectors
    torch.testing.assert_close(product, torch.eye(len(values)), rtol=0, atol=1e-4)


def test_energy_eigenpairs_count_is_per_matrix():
    matrices = torch.stack([MATRICES[n]() for n in ('one', 'rank five', 'twenty cliques')])
    values, vectors = energy_eigenpairs(matrices, 0.9)
    assert (values != 0).sum(-1).tolist() == [1, 2, 18]
    assert values.shape == (3, 18) and vectors.shape == (3, SIZE, 18)


def test_energy_eigenpairs_of_all_energy_give_the_matrix():
    for matrix in (MATRICES['rank five'](), symmetric(power_law(12))):
        values, vectors = energy_eigenpairs(matrix, 1.0)
        torch.testing.assert_close((vectors * values) @ vectors.mT, matrix, rtol=0, atol=1e-5)


@pytest.mark.parametrize('k', [0, -1, 1.5, True, '3'])
def test_leading_eigenvalues_bad_count_raises_user_error(k):
    with pytest.raises(UserError, match='k=.*integer >= 1'):
        leading_eigenpairs(torch.eye(4), k)


@pytest.mark.parametrize('energy', [0, 1.1, -0.5, True, 'all', float('nan')])
def test_energy_eigenpairs_bad_energy_raises_user_error(energy):
    with pytest.raises(UserError, match=r'energy=.* \(0, 1\]'):
        energy_eigenpairs(torch.eye(4), energy)
