import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmkd.engine.cpu_amp_optim_wrapper import CpuAmpOptimWrapper
from mmkd.losses import PKDLoss


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))


def step(wrapper_type, network, images):
    """Return what the network gave, and how far each weight moved, in a step of training."""
    wrapper = wrapper_type(torch.optim.SGD(network.parameters(), lr=1.0))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    with wrapper.optim_context(network):
        output = network(images)
        loss = output.square().mean()
    wrapper.update_params(loss)
    return output, [old - new for old, new in zip(before, network.parameters(), strict=True)]


def test_step_is_that_in_float32_within_the_precision_of_bfloat16(network):
    images = torch.randn(4, 3, 8, 8)
    expected, expected_moves = step(OptimWrapper, copy.deepcopy(network), images)
    output, moves = step(CpuAmpOptimWrapper, network, images)
    assert output.dtype == torch.bfloat16
    assert torch.linalg.vector_norm(output - expected) < 0.02 * torch.linalg.vector_norm(expected)
    total = torch.linalg.vector_norm(torch.cat([move.flatten() for move in expected_moves]))
    assert total > 0.1
    for move, other in zip(moves, expected_moves, strict=True):
        assert move.dtype == torch.float32
        assert torch.linalg.vector_norm(move - other) < 0.02 * total


def test_terms_stay_in_float32(network):
    wrapper = CpuAmpOptimWrapper(torch.optim.SGD(network.parameters(), lr=0.1))
    features = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    with wrapper.optim_context(network):
        term = PKDLoss()(*features)
    assert torch.equal(term, PKDLoss()(*features))


def test_gradients_accumulate_over_batches(network):
    wrapper = CpuAmpOptimWrapper(
        torch.optim.SGD(network.parameters(), lr=0.1), accumulative_counts=2
    )
    before = network[3].weight.clone()
    for moved in (False, True):
        with wrapper.optim_context(network):
            loss = network(torch.ones(1, 3, 8, 8)).mean()
        wrapper.update_params(loss)
        assert torch.equal(network[3].weight, before) != moved
