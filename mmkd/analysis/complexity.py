"""The cost of a network, independent of the machine: parameters and multiply-adds."""

from math import prod

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from mmkd.openmmlab.samples import blank_samples


def parameter_count(network: nn.Module) -> int:
    """Return the number of parameters of a network, without auxiliary heads, which only train."""
    return sum(
        p.numel()
        for name, p in network.named_parameters()
        if not name.startswith('auxiliary_head.')
    )


def flop_count(network: nn.Module, size: tuple[int, int]) -> int:
    """Return the multiply-adds of one image, each counted once, as vision papers count FLOPs.

    Convolutions, matrix products, normalisation and resampling count. So do attention, in every
    form in which PyTorch runs it, and the selective scan: ``9 L C S``, and ``L C`` for the skip,
    with L positions, C channels and S states (the count of the Mamba and VMamba papers). Biases,
    activations, softmax, pooling and element-wise sums and products do not count. Counters differ
    in this: docs/benchmarks.md has five of them side by side.

    Args:
        network: On the CPU, in eval mode.
        size: (height, width) of the image; the network must accept it without padding.
    """
    once = ImagePass(network, size)
    analyzer = FlopAnalyzer(once, once.images)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analyzer.tracer_warnings('none')
    analyzer.set_op_handle(
        'aten::baddbmm', _baddbmm,
        'aten::scaled_dot_product_attention', _attention,
        'prim::PythonOp.BlockedScan', _scan,
    )  # fmt: skip
    return int(analyzer.total())


class ImagePass(nn.Module):
    """A network's pass over black images, a function without arguments.

    Args:
        network: A segmentor, a detector, or any network called with ``mode='tensor'``.
        size: (height, width) of the images.
        batch: Number of images.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int], batch: int = 1) -> None:
        super().__init__()
        self.network = network
        self.images = next(network.parameters()).new_zeros(batch, 3, *size)
        self.samples = (blank_samples(network, size) or []) * batch

    def forward(self, images: Tensor) -> object:
        return self.network(images, self.samples, mode='tensor')

    @torch.no_grad()
    def run(self) -> object:
        """Run one pass over ``images``."""
        return self(self.images)


def _shape(value: object) -> list[int]:
    return value.type().sizes()


def _baddbmm(inputs: list, outputs: list) -> int:
    return prod(_shape(inputs[1])) * _shape(inputs[2])[-1]


def _attention(inputs: list, outputs: list) -> int:
    query, key, value = (_shape(x) for x in inputs[:3])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _scan(inputs: list, outputs: list) -> int:
    u, a = _shape(inputs[0]), _shape(inputs[2])
    return prod(u) * (9 * a[-1] + 1)
