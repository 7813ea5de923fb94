"""mmcv's synchronised batch normalisation on mmkd's operators, in one process."""

import pytest
import torch
from mmcv.ops.sync_bn import SyncBatchNormFunction
from torch import nn

pytestmark = pytest.mark.usefixtures('mmkd_operators')


@pytest.mark.parametrize('mode', ['default', 'N'])
def test_sync_bn_of_one_process_is_batch_norm(mode):
    x = torch.randn(4, 3, 5, 6) * 2 + 1
    results = []
    for synchronised in (True, False):
        norm, inputs = nn.BatchNorm2d(3), x.clone().requires_grad_()
        nn.init.constant_(norm.weight, 1.5)
        if synchronised:
            output = SyncBatchNormFunction.apply(
                *(inputs, norm.running_mean, norm.running_var, norm.weight, norm.bias),
                *(norm.momentum, norm.eps, None, 1, mode),
            )
        else:
            output = norm(inputs)
        output.backward(torch.linspace(-1, 2, x.numel()).view_as(x))
        grads = [inputs.grad, norm.weight.grad, norm.bias.grad]
        results.append([output.detach(), *grads, norm.running_mean, norm.running_var])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
