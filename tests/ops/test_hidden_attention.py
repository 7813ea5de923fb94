import pytest
import torch
from torch.nn import functional

from mmkd.ops.cross_scan import cross_merge, cross_scan
from mmkd.ops.hidden_attention import (
    hidden_attention,
    image_paths,
    merge_attention,
    path_images,
)
from mmkd.ops.selective_scan import selective_scan


def scan(samples=2, groups=4, channels=3, states=2, length=20, dtype=torch.float64):
    """Step sizes, A, B and C of a scan, and its input."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    total = groups * channels
    step = functional.softplus(rand(samples, total, length) - 1)
    b, c = rand(samples, groups, states, length), rand(samples, groups, states, length)
    return step, -rand(total, states).exp(), b, c, rand(samples, total, length)


def each_channel(x, channels):
    """B or C for groups of one channel."""
    return x.repeat_interleave(channels, 1)


def by_definition(step, a, b, c):
    """The attention of every channel, (B, K, L, L), entry by entry."""
    length, channels = step.shape[-1], step.shape[1] // b.shape[1]
    b, c = each_channel(b, channels), each_channel(c, channels)
    weights = torch.zeros(*step.shape, length, dtype=step.dtype)
    for i in range(length):
        for j in range(i + 1):
            decay = torch.ones(*step.shape[:2], a.shape[1], dtype=step.dtype)
            for k in range(j + 1, i + 1):
                decay = decay * (step[..., k, None] * a).exp()
            drive = step[..., j, None] * b[..., j]
            weights[..., i, j] = (c[..., i] * decay * drive).sum(-1)
    return weights


@pytest.mark.parametrize('length', [1, 2, 7, 8])
@pytest.mark.parametrize('states', [1, 3])
def test_hidden_attention_equals_definition(length, states):
    *tensors, _ = scan(length=length, states=states)
    expected = by_definition(*tensors).unflatten(1, (4, 3)).mean(2)
    torch.testing.assert_close(hidden_attention(*tensors), expected)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('states', [1, 4])
def test_hidden_attention_times_scan_input_is_scan_output(dtype, states):
    step, a, b, c, u = scan(length=60, states=states, dtype=dtype)
    weights = hidden_attention(step, a, each_channel(b, 3), each_channel(c, 3))
    skip = torch.arange(12, dtype=dtype)
    y = (weights @ u[..., None])[..., 0] + skip[:, None] * u
    expected = selective_scan(u, step, a, b, c, skip, delta_softplus=False)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('height, width', [(4, 7), (5, 5), (1, 6)])
def test_hidden_attention_merged_gives_merged_scan(height, width):
    step, a, b, c, _ = scan(length=height * width, dtype=torch.float32)
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    u = cross_scan(x).flatten(1, 2)
    y = selective_scan(u, step, a, b, c, delta_softplus=False)
    expected = cross_merge(y.unflatten(1, (4, 3)), height, width)
    weights = hidden_attention(step, a, each_channel(b, 3), each_channel(c, 3))
    merged = merge_attention(weights.unflatten(1, (4, 3)), height, width)
    found = (merged @ x.flatten(2)[..., None])[..., 0].unflatten(-1, (height, width))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_hidden_attention_of_each_path_is_in_raster_order():
    x = torch.arange(2.0 * 3 * 4 * 5).view(2, 3, 4, 5)
    images = path_images(cross_scan(x), 4, 5)
    assert torch.equal(images, x[:, None].expand(2, 4, 3, 4, 5))
    paths = torch.randn(2, 4, 3, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(image_paths(path_images(paths, 4, 5)), paths)
    torch.testing.assert_close(path_images(paths, 4, 5).sum(1), cross_merge(paths, 4, 5))


def test_hidden_attention_extreme_decays_equal_definition():
    step, a, b, c, u = scan(length=64, dtype=torch.float32)
    step = (300 * step).requires_grad_()  # exp(-sum) is 0, exp(sum) infinite
    weights = hidden_attention(step, a, each_channel(b, 3), each_channel(c, 3))
    expected = selective_scan(u, step, a, b, c, delta_softplus=False)
    torch.testing.assert_close((weights @ u[..., None])[..., 0], expected, rtol=1e-4, atol=1e-3)
    weights.sum().backward()
    assert step.grad.isfinite().all()


def test_hidden_attention_passes_gradcheck():
    *tensors, _ = scan(samples=1, groups=2, channels=2, length=5)
    for tensor in tensors:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(hidden_attention, tensors)
