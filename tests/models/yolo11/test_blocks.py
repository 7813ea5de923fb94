import pytest
from torch import nn


def test_yolo11_blocks_convolutions_have_pytorch_initialisation(build):
    """Uniformly within 1 / sqrt(fan in), wherever in the network a convolution lies."""
    network = build('n')
    network.init_weights()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            assert float(module.weight.abs().max()) == pytest.approx(bound, rel=0.05), name
