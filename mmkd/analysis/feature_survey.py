"""Find the places of a network that a distillation can tap, from one pass over real images.

Shapes: ``B`` samples, ``C`` channels, ``H`` rows, ``W`` columns of a feature.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmkd.distillation.recording import Recording, record
from mmkd.distillation.tap import Tap, parse_tap
from mmkd.errors import UserError
from mmkd.ops.attention import attention_map
from mmkd.ops.attention_readings import AttentionReading

# A map whose deviation over positions is below this share of its mean tells no place from another:
# the channels of a LayerNorm's output have the same sum of squares everywhere, up to rounding.
LEAST_VARIATION = 0.02


@dataclass(frozen=True)
class Feature:
    """One feature (B, C, H, W) of a network.

    Attributes:
        tap: Where it is read, as a config writes it.
        channels: C.
        size: (H, W).
        stride: Pixels of the network's input per cell, of the larger side.
        variation: Deviation over positions of the attention map, divided by its mean; averaged
            over the batch. 0 means a map that is the same everywhere.
    """

    tap: str
    channels: int
    size: tuple[int, int]
    stride: float
    variation: float

    @property
    def has_map(self) -> bool:
        """Whether the attention map differs between positions."""
        return self.variation >= LEAST_VARIATION


def survey_features(
    network: nn.Module, run: Callable[[], object], size: tuple[int, int], paths: Iterable[str]
) -> list[Feature]:
    """Return the features that the modules at ``paths`` yield while ``run`` runs the network.

    A module that yields several features, such as a backbone, gives one entry for each. Modules
    that do not run, or that yield something else, are left out.

    Args:
        network: The network, whose modules ``paths`` name.
        run: Runs one forward pass.
        size: Height and width of the network's input.
        paths: Module paths, such as ``backbone`` and ``decode_head.fusion_conv``.
    """
    taps = [parse_tap(path) for path in paths]
    with torch.no_grad(), record(network, taps) as recording:
        run()
    found = []
    for tap in taps:
        for part, value in _parts(recording, tap):
            if isinstance(value, Tensor) and value.ndim == 4 and min(value.shape[2:]) > 1:
                found.append(_feature(part, value, size))
    return found


def outer_paths(network: nn.Module) -> list[str]:
    """Return the paths of a network's backbone and neck, as far as it has them."""
    return [
        name for name in ('backbone', 'neck') if isinstance(getattr(network, name, None), nn.Module)
    ]


def inner_paths(network: nn.Module) -> list[str]:
    """Return the paths of the convolutions inside the neck and the heads, in module order.

    Those that score the classes are left out: their output is the logits.
    """
    parts = [name for name, _ in network.named_children() if name != 'backbone']
    return [
        path
        for path, module in network.named_modules()
        if path.partition('.')[0] in parts
        and 'auxiliary_head' not in path
        and not path.endswith('conv_seg')
        and type(module).__name__ in ('ConvModule', 'Conv2d', 'DepthwiseSeparableConvModule')
    ]


def block_paths(network: nn.Module) -> list[str]:
    """Return the paths of the groups of layers inside the backbone, in module order."""
    return [
        path
        for path, module in network.named_modules()
        if path.startswith('backbone.') and path.count('.') <= 3 and type(module) is nn.Sequential
    ]


def describe_tap(feature: Feature) -> str:
    """Return a feature in words: its tap, stride, channels and how much its map varies."""
    height, width = feature.size
    return (
        f'{feature.tap}: stride {feature.stride:g}, {feature.channels} channels, '
        f'{height}x{width}, map varies by {feature.variation:.2f}'
    )


def _parts(recording: Recording, tap: Tap) -> list[tuple[Tap, Tensor | AttentionReading]]:
    """Return what a tapped module yielded, part by part, with the taps of the parts."""
    try:
        return [(tap, recording[tap])]
    except UserError:
        parts: list[tuple[Tap, Tensor | AttentionReading]] = []
    for index in range(16):
        try:
            part = Tap(tap.path, (*tap.index, index))
            parts.append((part, recording[part]))
        except UserError:
            break
    return parts


def _feature(tap: Tap, value: Tensor, size: Sequence[int]) -> Feature:
    value = value.float()
    heat = attention_map(value).flatten(1)
    mean = heat.mean(1).clamp(min=1e-12)
    stride = max(full / part for full, part in zip(size, value.shape[2:], strict=True))
    return Feature(
        tap=str(tap),
        channels=value.shape[1],
        size=tuple(value.shape[2:]),
        stride=2.0 ** round(torch.tensor(stride).log2().item()),
        variation=(heat.std(1) / mean).mean().item(),
    )
