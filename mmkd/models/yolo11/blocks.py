"""YOLO11's building blocks.

Jocher & Qiu, "Ultralytics YOLO11", 2024 (https://docs.ultralytics.com/models/yolo11). Written from
the published architecture: layer table, block diagrams, and the names and shapes of the weights in
its checkpoints.

All blocks map (B, C_in, H, W) to (B, C_out, H, W); only :func:`conv` with a stride shrinks.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

NORM = dict(type='BN', momentum=0.03, eps=1e-3)
ACTIVATION = dict(type='SiLU')


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    groups: int = 1,
    act: bool = True,
) -> ConvModule:
    """Return convolution, BatchNorm and optional SiLU, padded so that stride 1 keeps the size."""
    module = ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        norm_cfg=NORM,
        act_cfg=ACTIVATION if act else None,
    )
    # Otherwise ConvModule would initialise its weights again, after its parent's init_cfg.
    module.is_init = True
    return module


class Bottleneck(BaseModule):
    """Two 3x3 convolutions with a shortcut; ``expansion`` sets the channels in between."""

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.conv1 = conv(channels, hidden, 3)
        self.conv2 = conv(hidden, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class C3k(BaseModule):
    """Cross-stage partial block: two bottlenecks on one half, an identity on the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = conv(channels, hidden)
        self.conv2 = conv(channels, hidden)
        self.conv3 = conv(2 * hidden, channels)
        self.blocks = nn.Sequential(Bottleneck(hidden, 1.0), Bottleneck(hidden, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.cat((self.blocks(self.conv1(x)), self.conv2(x)), 1))


class C3k2(BaseModule):
    """Cross-stage partial block that keeps the output of every inner block.

    Args:
        num_blocks: Number of inner blocks.
        deep_blocks: Whether inner blocks are C3k instead of Bottleneck.
        expansion: Channels of an inner block as a fraction of ``out_channels``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        deep_blocks: bool,
        expansion: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.conv1 = conv(in_channels, 2 * hidden)
        self.conv2 = conv((2 + num_blocks) * hidden, out_channels)
        self.blocks = nn.ModuleList(
            C3k(hidden) if deep_blocks else Bottleneck(hidden, 0.5) for _ in range(num_blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.conv1(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.conv2(torch.cat(parts, 1))


class SPPF(BaseModule):
    """Spatial pyramid pooling: three 5x5 max-pools in sequence, with windows of 5, 9 and 13."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = conv(channels, hidden)
        self.conv2 = conv(4 * hidden, channels)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.conv1(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.conv2(torch.cat(parts, 1))


class Attention(BaseModule):
    """Self-attention over positions; keys have half the channels of the values.

    A depthwise 3x3 convolution of the values, ``pe``, encodes positions.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.value_dim = channels // num_heads
        self.key_dim = self.value_dim // 2
        self.qkv = conv(channels, channels + 2 * self.key_dim * num_heads, act=False)
        self.proj = conv(channels, channels, act=False)
        self.pe = conv(channels, channels, 3, groups=channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        # (B, heads, positions, query + key + value channels)
        qkv = self.qkv(x).view(n, self.num_heads, -1, h * w).transpose(2, 3)
        q, k, v = qkv.split((self.key_dim, self.key_dim, self.value_dim), 3)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(x.shape)
        values = v.transpose(2, 3).reshape(x.shape)
        return self.proj(mixed + self.pe(values))


class PSABlock(BaseModule):
    """Attention, then a feed-forward network of 1x1 convolutions, each with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attn = Attention(channels, num_heads=channels // 64)
        self.ffn = nn.Sequential(
            conv(channels, 2 * channels), conv(2 * channels, channels, act=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2PSA(BaseModule):
    """Cross-stage partial block with ``num_blocks`` attention blocks on half of the channels."""

    def __init__(self, channels: int, num_blocks: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = conv(channels, 2 * hidden)
        self.conv2 = conv(2 * hidden, channels)
        self.blocks = nn.Sequential(*(PSABlock(hidden) for _ in range(num_blocks)))

    def forward(self, x: Tensor) -> Tensor:
        passed, attended = self.conv1(x).chunk(2, 1)
        return self.conv2(torch.cat((passed, self.blocks(attended)), 1))
