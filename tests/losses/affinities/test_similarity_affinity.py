import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmkd.errors import UserError
from mmkd.losses.affinities import SimilarityAffinity


def feature(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, 4, 6, generator=generator, dtype=torch.float64)


def test_similarity_affinity_equals_definition():
    x = feature()
    nodes = x.unflatten(2, (2, 2)).unflatten(4, (3, 2)).mean((3, 5)).flatten(2)  # (B, C, 2 * 3)
    cosine = torch.nn.functional.cosine_similarity(nodes[..., None], nodes[..., None, :], dim=1)
    weights = SimilarityAffinity(tau=0.2)(x, (2, 3))
    assert weights.shape == (2, 1, 6, 6)
    torch.testing.assert_close(weights[:, 0], (cosine / 0.2).softmax(-1))


@given(st.floats(1e-4, 1e4))
def test_similarity_affinity_ignores_scale(scale):
    affinity = SimilarityAffinity()
    torch.testing.assert_close(affinity(scale * feature(), (4, 6)), affinity(feature(), (4, 6)))


def test_similarity_affinity_of_equal_patches_forms_cliques():
    # Three kinds of patches, at right angles to each other.
    kinds = torch.tensor([0, 1, 1, 2, 0, 2])
    x = torch.eye(3, dtype=torch.float64)[kinds].T.reshape(1, 3, 2, 3)
    weights = SimilarityAffinity(tau=0.01)(x, (2, 3))[0, 0]
    alike = kinds[:, None] == kinds
    torch.testing.assert_close(weights, alike / alike.sum(1, keepdim=True).double())


@pytest.mark.parametrize('tau', [0, -1.0, float('nan'), '1'])
def test_similarity_affinity_bad_temperature_raises_user_error(tau):
    with pytest.raises(UserError, match='tau='):
        SimilarityAffinity(tau)
