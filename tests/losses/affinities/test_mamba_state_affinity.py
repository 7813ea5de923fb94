import pytest
import torch

from mmkd.errors import UserError
from mmkd.losses.affinities import MambaStateAffinity, SimilarityAffinity
from mmkd.losses.affinities.node_affinities import node_affinities
from mmkd.ops.attention_readings import ScanInputs
from mmkd.ops.cross_scan import cross_merge, cross_scan
from mmkd.ops.selective_scan import selective_scan

AFFINITY = MambaStateAffinity()


def scan(grid, samples=2, channels=3, states=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    length = grid[0] * grid[1]

    def rand(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return ScanInputs(
        delta=rand(samples, 4 * channels, length),
        A=-rand(4 * channels, states).exp(),
        B=rand(samples, 4, states, length),
        C=rand(samples, 4, states, length),
        delta_bias=rand(4 * channels) - 1,
        grid=grid,
    )


def drawn_from(x, channels=3):
    """How far the scan's output at each place answers to its input at each other, by channel."""
    samples, length = len(x.delta), x.delta.shape[2]

    def run(image):
        u = cross_scan(image.unflatten(-1, x.grid)).flatten(1, 2)
        y = selective_scan(u, x.delta, x.A, x.B, x.C, delta_bias=x.delta_bias)
        return cross_merge(y.unflatten(1, (4, -1)), *x.grid).flatten(2)

    columns = [
        run(torch.eye(length, dtype=x.delta.dtype)[j].expand(samples, channels, length))
        for j in range(length)
    ]
    return torch.stack(columns, -1)


def test_mamba_state_affinity_of_one_state_is_scan_magnitude():
    x = scan((3, 4))
    alike = ScanInputs(x.delta, x.A, x.B.abs(), x.C.abs(), x.delta_bias, x.grid)
    expected = drawn_from(alike).mean(1)
    expected = expected / expected.sum(-1, keepdim=True)
    weights = AFFINITY(x, (3, 4))
    assert weights.shape == (2, 1, 12, 12)
    torch.testing.assert_close(weights[:, 0], expected)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 1, 12).double())


def test_mamba_state_affinity_of_several_states_bounds_scan_from_above():
    x = scan((3, 4), states=3)
    total = drawn_from(ScanInputs(x.delta, x.A, x.B.abs(), x.C.abs(), x.delta_bias, x.grid))
    weights = AFFINITY(x, (3, 4))[:, 0] * total.mean(1).sum(-1, keepdim=True)
    assert (weights >= drawn_from(x).mean(1).abs() - 1e-9).all()


def test_mamba_state_affinity_on_fewer_nodes_averages_rows_and_adds_keys():
    x = scan((4, 6))
    weights = AFFINITY(x, (4, 6)).reshape(2, 1, 2, 2, 3, 2, 2, 2, 3, 2)
    expected = weights.mean((3, 5)).sum((5, 7)).reshape(2, 1, 6, 6)
    torch.testing.assert_close(AFFINITY(x, (2, 3)), expected)


def test_mamba_state_affinity_large_scan_is_pooled_first(largest_tensor):
    x = scan((48, 64), samples=1, dtype=torch.float32)
    with largest_tensor:
        weights = AFFINITY(x, (12, 16))
    assert largest_tensor.elements <= 4 * 256**2  # of 192 nodes along four paths, in powers of two
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, 192))


def test_mamba_state_affinity_large_scan_decays_across_nodes():
    # Equal steps: weights fall with the distance along a path, here nodes of 8 by 6 positions.
    one = torch.ones(1, 4, 1, 64 * 48, dtype=torch.float64)
    delta = (0.01 * one[:, :, 0]).expm1().log()  # steps of 0.01
    x = ScanInputs(delta, -one[0, :, 0, :1], one, one, torch.zeros(4).double(), (64, 48))
    by_rows = torch.arange(64.0, dtype=torch.float64)
    by_columns = by_rows.view(8, 8).T.flatten()
    expected = sum(
        (-0.01 * reach * (order[:, None] - order).abs()).exp()
        for order, reach in ((by_rows, 6), (by_columns, 8))
    )
    expected = expected + 2 * torch.eye(64)  # to itself a node comes both ways
    weights = AFFINITY(x, (8, 8))[0, 0]
    torch.testing.assert_close(weights, expected / expected.sum(1, keepdim=True))


def test_mamba_state_affinity_gradient_reaches_scan_inputs():
    x = scan((3, 4))
    for tensor in (x.delta, x.B, x.C, x.A):
        tensor.requires_grad_()
    AFFINITY(x, (2, 2))[..., 0].sum().backward()
    assert all(t.grad.abs().max() > 0 and t.grad.isfinite().all() for t in (x.delta, x.B, x.C, x.A))


@pytest.mark.parametrize('scale', [0, 1e4])
def test_mamba_state_affinity_degenerate_scan_has_finite_gradients(scale):
    x = scan((3, 4), dtype=torch.float32)
    x = ScanInputs(*(scale * t for t in (x.delta, x.A, x.B, x.C, x.delta_bias)), x.grid)
    tensors = x.delta, x.B, x.C
    for tensor in tensors:
        tensor.requires_grad_()
    AFFINITY(x, (3, 4))[..., 0].sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in tensors)


def test_mamba_state_affinity_scan_and_feature_share_a_grid():
    x = scan((3, 4), dtype=torch.float16)
    student, teacher, gram = node_affinities('SomeLoss', AFFINITY, x, scan((2, 6)), None)
    assert student.shape == teacher.shape == (2, 1, 8, 8) and not gram
    assert student.dtype == torch.float64


def test_mamba_state_affinity_wrong_kind_of_tap_is_rejected():
    feature = torch.randn(2, 3, 3, 4)
    with pytest.raises(UserError, match=r"expected a scan.*'attention\(.*op.scan\)'"):
        AFFINITY(feature, (3, 4))
    with pytest.raises(UserError, match='affinity=.*MambaStateAffinity, because student is a scan'):
        node_affinities('SomeLoss', SimilarityAffinity(), scan((3, 4)), feature, None)
