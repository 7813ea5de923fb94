"""The learned filter: one gain for one frequency, at every size of map."""

import pytest
import torch

from mmkd.ops.global_filter import apply_global_filter, frequency_response


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_global_filter_response_interpolates_between_nodes():
    # Nodes at vertical -1, 0, 1 and horizontal 0, 1; bins at 0, 1/2, -1, -1/2 and 0, 1/2, 1.
    real = torch.tensor([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0]], dtype=torch.float64)
    nodes = torch.stack([real, -real])[:, None]
    by_row = torch.stack([real[1], (real[1] + real[2]) / 2, real[0], (real[0] + real[1]) / 2])
    expected = torch.stack([by_row[:, 0], by_row.mean(1), by_row[:, 1]], dim=1)
    response = frequency_response(nodes, (4, 4))
    torch.testing.assert_close(response[0], torch.complex(expected, -expected))


@pytest.mark.parametrize('small, large', [((4, 6), (8, 12)), ((5, 3), (15, 9)), ((1, 1), (7, 4))])
def test_global_filter_gain_is_independent_of_size(small, large):
    # The small map's frequencies are every second, or third, of the large one's.
    nodes = rand(2, 3, 5, 4)
    factor = large[0] // small[0], large[1] // small[1]
    a, b = frequency_response(nodes, small), frequency_response(nodes, large)
    torch.testing.assert_close(a, b[:, :: factor[0], :: factor[1]][..., : a.shape[-1]])


@pytest.mark.parametrize('shape', [(4, 6), (5, 7), (1, 8), (6, 1), (3, 4)])
def test_apply_global_filter_equals_complex_transform(shape):
    # The paper's way: a whole complex filter, and the real part of what comes back. Its negative
    # frequencies are here the conjugates of the positive ones that the half spectrum holds.
    height, width = shape
    x, nodes, cutoff = rand(2, 3, *shape), rand(2, 3, 5, 4), 0.4
    half = frequency_response(nodes, shape)
    whole = torch.zeros(3, height, width, dtype=torch.complex128)
    for v in range(height):
        for u in range(width):
            if u <= width // 2:
                whole[:, v, u] = half[:, v, u]
            else:
                whole[:, v, u] = half[:, -v % height, width - u].conj()
            row = (v if v < height - v else v - height) / (height / 2)
            column = min(u, width - u) / (width / 2)
            if row**2 + column**2 <= cutoff**2:
                whole[:, v, u] = 0
    expected = torch.fft.ifft2(torch.fft.fft2(x) * whole).real
    torch.testing.assert_close(apply_global_filter(x, nodes, cutoff), expected)


def test_apply_global_filter_removes_the_mean():
    x = rand(2, 3, 6, 5)
    ones = torch.stack([torch.ones(3, 2, 2), torch.zeros(3, 2, 2)]).double()
    # Below the first frequency of the map, so that nothing but the mean is cut.
    torch.testing.assert_close(
        apply_global_filter(x, ones, 0.01), x - x.mean(dim=(2, 3), keepdim=True)
    )


def test_apply_global_filter_passes_gradcheck():
    x, nodes = rand(1, 2, 3, 4).requires_grad_(), rand(2, 2, 3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, nodes: apply_global_filter(x, nodes, 0.5), (x, nodes))
