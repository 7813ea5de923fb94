"""mmcv's focal losses on mmkd's operators, against the paper's formula and its derivatives."""

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss
from torch.autograd import gradcheck
from torch.nn.functional import one_hot

pytestmark = pytest.mark.usefixtures('mmkd_operators')
CLASSES, GAMMA, ALPHA = 3, 2.0, 0.25
TARGET = torch.tensor([0, 2, 1, 3, 0])  # 3: background


def test_sigmoid_focal_loss_follows_the_paper():
    logits = torch.randn(5, CLASSES, dtype=torch.double)
    p = logits.sigmoid()
    is_target = one_hot(TARGET, CLASSES + 1)[:, :CLASSES].bool()
    p_t = torch.where(is_target, p, 1 - p)
    alpha_t = torch.where(is_target, ALPHA, 1 - ALPHA).double()
    expected = -alpha_t * (1 - p_t) ** GAMMA * p_t.log()
    loss = sigmoid_focal_loss(logits, TARGET, GAMMA, ALPHA, None, 'none')
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_sigmoid_focal_loss_weights_samples_by_class():
    logits, weight = torch.randn(3, CLASSES), torch.tensor([1.0, 2.0, 5.0])
    target = torch.tensor([2, 0, 1])
    plain = sigmoid_focal_loss(logits, target, GAMMA, ALPHA, None, 'none')
    weighted = sigmoid_focal_loss(logits, target, GAMMA, ALPHA, weight, 'none')
    torch.testing.assert_close(weighted, plain * torch.tensor([[5.0], [1.0], [2.0]]))


@pytest.mark.parametrize('reduction', ['sum', 'mean'])
def test_sigmoid_focal_loss_gradient_is_the_derivative(reduction):
    logits = torch.randn(5, CLASSES, dtype=torch.double, requires_grad=True)

    def loss(x):
        return sigmoid_focal_loss(x, TARGET, GAMMA, ALPHA, None, reduction)

    assert gradcheck(loss, logits)


@pytest.mark.parametrize('logit', [-200.0, 200.0])
def test_sigmoid_focal_loss_is_finite_for_certain_predictions(logit):
    logits = torch.full((2, CLASSES), logit, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0, 3]), GAMMA, ALPHA, None, 'sum')
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_softmax_focal_loss_follows_the_paper():
    logits = torch.randn(4, CLASSES, dtype=torch.double)
    target, weight = torch.tensor([0, 2, 1, -1]), torch.tensor([1.0, 2.0, 3.0]).double()
    p = logits.softmax(1)[torch.arange(3), target[:3]]
    expected = -ALPHA * weight[target[:3]] * (1 - p) ** GAMMA * p.log()
    loss = softmax_focal_loss(logits, target, GAMMA, ALPHA, weight, 'none')
    torch.testing.assert_close(loss[:3], expected)
    assert loss[3] == 0


def test_softmax_focal_loss_gradient_is_the_derivative():
    logits = torch.randn(4, CLASSES, dtype=torch.double, requires_grad=True)
    target = torch.tensor([0, 2, 1, -1])

    def loss(x):
        return softmax_focal_loss(x, target, GAMMA, ALPHA, None, 'sum')

    assert gradcheck(loss, logits)
