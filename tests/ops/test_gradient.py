"""Input gradients: a case worked by hand, and a size that is not the crop's."""

import pytest
import torch

from mmkd.ops.gradient import input_gradient


def rand(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_input_gradient_equals_hand_value():
    # L = mean of x^2 / 2 over 2 images of 1x4 pixels: dL/dx = x / 8, times 2 * sqrt(4).
    x = rand(2, 1, 1, 4).requires_grad_()
    torch.testing.assert_close(input_gradient(x.square().mean() / 2, x), x.detach() / 2)


@pytest.mark.parametrize('repeats', [(3, 1, 1, 1), (1, 1, 2, 3)])
def test_input_gradient_norm_is_independent_of_batch_and_size(repeats):
    def norms(x):
        x = x.requires_grad_()
        loss = x.pow(3).sum(dim=1).mean()  # a mean over images and pixels, as a task's is
        return input_gradient(loss, x).flatten(1).norm(dim=1)

    x = rand(2, 3, 4, 6)
    expected = norms(x).repeat(repeats[0])
    torch.testing.assert_close(norms(x.detach().repeat(repeats)), expected)


def test_input_gradient_is_differentiable():
    x, weight = rand(2, 3, 4, 5).requires_grad_(), rand(4, 3, 3, 3).requires_grad_()

    def squares(weight):
        loss = torch.nn.functional.conv2d(x, weight).tanh().square().mean()
        return input_gradient(loss, x, create_graph=True).square().sum()

    assert torch.autograd.gradcheck(squares, weight)


def test_input_gradient_frees_graph_and_leaves_parameters():
    x, weight = rand(1, 1, 2, 2).requires_grad_(), rand(1).requires_grad_()
    loss = (x * weight).square().mean()
    assert not input_gradient(loss, x).requires_grad
    assert weight.grad is None and x.grad is None
    with pytest.raises(RuntimeError, match='backward through the graph a second time'):
        loss.backward()


def test_input_gradient_half_precision_keeps_small_values():
    # 1e6 pixels: the mean's own gradient is below what float16 holds.
    x = torch.full((1, 1, 1000, 1000), 1e-2, requires_grad=True)
    gradient = input_gradient(x.half().square().float().mean(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, 2e-5), rtol=2e-2, atol=0)
