"""What a network costs whatever the machine: parameters and multiply-adds."""

from math import prod

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from mmkd.dry_run import blank_samples


def parameter_count(network: nn.Module) -> int:
    """Parameters of a network; auxiliary heads, which only train, do not count."""
    parts = (part for name, part in network.named_children() if name != 'auxiliary_head')
    return sum(p.numel() for part in parts for p in part.parameters())


def flop_count(network: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-adds of one image's pass, each counted once, as papers in vision count FLOPs.

    Convolutions, products of matrices, normalisation and resampling count; so do attention, in
    every form in which PyTorch runs it, and the selective scan with ``9 L C N`` and ``L C`` for
    the skip, L positions, C channels, N states (the count of the Mamba and VMamba papers).

    Args:
        network: on the CPU, in eval mode.
        size: (height, width) of the image, which the network must take without padding.
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
    """A network's pass over black images, a function of nothing else.

    Args:
        network: a segmentor, a detector, or any network called with ``mode='tensor'``.
        size: (height, width) of the images.
        batch: how many.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int], batch: int = 1) -> None:
        super().__init__()
        self.network = network
        self.images = next(network.parameters()).new_zeros(batch, 3, *size)
        self.samples = (blank_samples(network, max(size)) or []) * batch
        shape = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size)
        for sample in self.samples:
            sample.set_metainfo(shape)

    def forward(self, images: Tensor) -> object:
        return self.network(images, self.samples, mode='tensor')

    @torch.no_grad()
    def run(self) -> object:
        """One pass over ``images``."""
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
