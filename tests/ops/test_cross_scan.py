import torch
from hypothesis import given
from hypothesis import strategies as st

from mmkd.ops.cross_scan import cross_merge, cross_scan

sizes = dict(
    samples=st.integers(1, 3),
    channels=st.integers(1, 3),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    seed=st.integers(0, 100),
)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_cross_scan_gives_the_four_paths():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    paths = [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]
    assert cross_scan(x)[0, :, 0].tolist() == paths


@given(**sizes)
def test_cross_merge_restores_every_path(samples, channels, height, width, seed):
    x = draw(samples, channels, height, width, seed=seed)
    paths = cross_scan(x)
    assert paths.shape == (samples, 4, channels, height * width) and paths.is_contiguous()
    for k in range(4):
        alone = torch.zeros_like(paths)
        alone[:, k] = paths[:, k]
        assert torch.equal(cross_merge(alone, height, width), x)
    torch.testing.assert_close(cross_merge(paths, height, width), 4 * x)


@given(**sizes)
def test_cross_merge_is_transpose_of_cross_scan(samples, channels, height, width, seed):
    x = draw(samples, channels, height, width, seed=seed)
    paths = draw(samples, 4, channels, height * width, seed=seed + 1)
    merged = cross_merge(paths, height, width)
    torch.testing.assert_close((cross_scan(x) * paths).sum(), (x * merged).sum())


def test_cross_scan_passes_gradcheck():
    x = draw(2, 3, 4, 5).requires_grad_()
    paths = draw(2, 4, 3, 20).requires_grad_()
    assert torch.autograd.gradcheck(cross_scan, x)
    assert torch.autograd.gradcheck(lambda p: cross_merge(p, 4, 5), paths)


def test_cross_scan_ignores_memory_layout():
    x = draw(2, 3, 4, 5)
    turned = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(cross_scan(turned), cross_scan(x))
