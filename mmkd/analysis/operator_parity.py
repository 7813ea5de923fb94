"""mmkd's operators beside mmcv's compiled ones: the same layers on the same CPU tensors."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from mmcv.ops import DeformConv2d, ModulatedDeformConv2d, PSAMask, RoIAlign
from torch import Tensor, nn
from torch.nn.functional import conv2d

_GEOMETRIES = {
    '3x3': dict(kernel_size=3, padding=1),
    '3x3, stride and dilation 2': dict(
        kernel_size=3, stride=2, padding=2, dilation=2, deform_groups=2
    ),
    '1x3, 2 groups': dict(
        kernel_size=(1, 3), stride=(1, 2), padding=(0, 1), groups=2, deform_groups=4
    ),
}


@contextmanager
def use_operators(module: ModuleType) -> Iterator[None]:
    """Let ``mmcv.ops`` call the operators of ``module`` within the block."""
    users = [
        loaded
        for name, loaded in list(sys.modules.items())
        if name.startswith('mmcv.ops.') and hasattr(loaded, 'ext_module')
    ]
    before = [user.ext_module for user in users]
    try:
        for user in users:
            user.ext_module = module
        yield
    finally:
        for user, operators in zip(users, before, strict=True):
            user.ext_module = operators


def parity_cases() -> dict[str, Callable[[], list[Tensor]]]:
    """Return, by name, functions that give a layer's output and then all of its gradients.

    A function makes its own tensors from torch's random generator: seed that before each call.
    """
    cases = {
        f'roi_align, aligned={aligned}, sampling_ratio={ratio}': _roi_align(aligned, ratio)
        for aligned in (True, False)
        for ratio in (0, 2)
    }
    for name, geometry in _GEOMETRIES.items():
        cases[f'deform_conv2d, {name}'] = _deform_conv(DeformConv2d, **geometry)
        for bias in (True, False):
            cases[f'modulated_deform_conv2d, {name}, bias={bias}'] = _deform_conv(
                ModulatedDeformConv2d, **geometry, bias=bias
            )
    for kind in ('collect', 'distribute'):
        for size in ((5, 7), (9, 13), (3, 5)):
            cases[f'psa_mask, {kind}, {size[0]}x{size[1]}'] = _psa_mask(kind, size)
    return cases


def largest_differences(ours: list[Tensor], compiled: list[Tensor]) -> tuple[float, float]:
    """Return the largest difference of outputs and of gradients, relative to the largest entry."""
    output, *gradients = (
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, compiled, strict=True)
    )
    return output, max(gradients)


def _roi_align(aligned: bool, sampling_ratio: int) -> Callable[[], list[Tensor]]:
    def compute() -> list[Tensor]:
        features = torch.randn(2, 3, 17, 23).requires_grad_()
        corners = torch.rand(30, 2, 2).sort(1).values * torch.tensor([200.0, 150.0]) - 10
        rois = torch.cat([torch.arange(30)[:, None] % 2, corners.flatten(1)], 1)
        pool = RoIAlign((5, 7), 1 / 8, sampling_ratio, aligned=aligned)
        return _output_and_gradients(pool, features, rois)

    return compute


def _deform_conv(kind: type[nn.Module], **options: object) -> Callable[[], list[Tensor]]:
    def compute() -> list[Tensor]:
        features = torch.randn(4, 8, 11, 14).requires_grad_()
        layer = kind(8, 6, **options)
        geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
        height, width = conv2d(features, layer.weight, None, *geometry).shape[2:]
        places = layer.deform_groups * layer.weight[0, 0].numel()
        inputs = [(torch.randn(4, 2 * places, height, width) * 3).requires_grad_()]
        if kind is ModulatedDeformConv2d:
            inputs.append(torch.rand(4, places, height, width).requires_grad_())
        return _output_and_gradients(layer, features, *inputs)

    return compute


def _psa_mask(kind: str, size: tuple[int, int]) -> Callable[[], list[Tensor]]:
    def compute() -> list[Tensor]:
        masks = torch.randn(2, size[0] * size[1], 5, 7).requires_grad_()
        return _output_and_gradients(PSAMask(kind, size), masks)

    return compute


def _output_and_gradients(layer: nn.Module, *inputs: Tensor) -> list[Tensor]:
    output = layer(*inputs)
    wanted = [x for x in (*inputs, *layer.parameters()) if x.requires_grad]
    upstream = torch.linspace(-1, 1, output.numel()).view_as(output)
    return [output.detach(), *torch.autograd.grad(output, wanted, upstream)]
