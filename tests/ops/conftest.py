from collections.abc import Callable

import pytest
import torch


@pytest.fixture(scope='session')
def scan_inputs() -> Callable[..., list[torch.Tensor]]:
    """Makes leaves for a selective scan: u, delta, A (negative), B, C, D and delta_bias."""

    def make(samples, groups, channels, states, length, dtype=torch.float64, seed=0, device='cpu'):
        generator = torch.Generator().manual_seed(seed)
        total = groups * channels
        shapes = [(samples, total, length)] * 2 + [(total, states)]
        shapes += [(samples, groups, states, length)] * 2 + [(total,)] * 2
        inputs = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
        inputs[2] = -inputs[2].abs() - 0.1
        return [x.to(device).requires_grad_() for x in inputs]

    return make
