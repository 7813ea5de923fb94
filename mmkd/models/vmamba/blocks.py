"""VMamba's blocks: a selective scan along four paths through the image in place of attention.

Liu et al., "VMamba: Visual State Space Model", NeurIPS 2024 (https://arxiv.org/abs/2401.10166), as
in the published checkpoints: no gate beside the scan (``v05_noz``), and LayerNorm over channels.
Written from the paper and from the names and shapes of the checkpoints' weights.

Shapes: see :mod:`mmkd.ops`; ``C`` channels of a block, ``E = ssm_ratio * C`` channels of its scan.
Images are (B, C, H, W) in channels-last memory, as every norm and linear layer leaves them.
"""

import math
from collections import OrderedDict

import torch
from mmcv.cnn.bricks import DropPath
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmkd.ops.attention_readings import ScanInputs
from mmkd.ops.cross_scan import cross_merge, cross_scan
from mmkd.ops.selective_scan import selective_scan

# Range of the initial step sizes, log-uniform (Gu & Dao, section 3.6).
_STEPS = (1e-3, 1e-1)


def norm(channels: int) -> LayerNorm2d:
    """Return a LayerNorm over the channels of an image."""
    return LayerNorm2d(channels, eps=1e-5)


class Linear2d(nn.Linear):
    """Linear layer over the channels of an image; its weight is (out, in) as in ``nn.Linear``."""

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=0.02)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class FourPathScan(nn.Module):
    """Selective scan along four paths and back to the image; a module, so that you can tap it."""

    backend: str | None = None
    """Backend of :func:`mmkd.ops.selective_scan.selective_scan`; an export sets it."""

    def forward(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        delta_bias: Tensor,
        grid: tuple[int, int],
    ) -> Tensor:
        """Scan, bring the paths back to the image and add them up.

        Args:
            u: Input along the paths of :func:`mmkd.ops.cross_scan.cross_scan`, (B, 4 * E, L).
            delta: Step sizes before bias and softplus, (B, 4 * E, L).
            A: Rates, (4 * E, S), negative.
            B: Input weights, (B, 4, S, L).
            C: Output weights, (B, 4, S, L).
            D: Skip weights, (4 * E,).
            delta_bias: Added to ``delta``, (4 * E,).
            grid: (H, W).

        Returns:
            (B, E, H, W).
        """
        y = selective_scan(u, delta, A, B, C, D, delta_bias, backend=self.backend)
        return cross_merge(y.unflatten(1, (4, -1)), *grid)

    def read_attention(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        delta_bias: Tensor,
        grid: tuple[int, int],
    ) -> ScanInputs:
        """Return what a tap ``attention(...)`` records of a call of :meth:`forward`."""
        return ScanInputs(delta, A, B, C, delta_bias, grid)


class SS2D(nn.Module):
    """Mix positions: projection, depthwise convolution, scan, norm and projection."""

    def __init__(self, channels: int, ssm_ratio: float, d_state: int) -> None:
        super().__init__()
        inner, self.rank = int(ssm_ratio * channels), math.ceil(channels / 16)
        self.d_state = d_state
        self.x_proj_weight = nn.Parameter(torch.empty(4, self.rank + 2 * d_state, inner))
        self.A_logs = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(4 * inner, 1))
        self.Ds = nn.Parameter(torch.ones(4 * inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(4, inner, self.rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(4, inner))
        self.in_proj = Linear2d(channels, inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.act = nn.SiLU()
        self.scan = FourPathScan()
        self.out_norm = norm(inner)
        self.out_proj = Linear2d(inner, channels, bias=False)
        self._reset_parameters()

    @torch.no_grad()
    def _reset_parameters(self) -> None:
        for weight in (self.x_proj_weight, self.dt_projs_weight):
            nn.init.uniform_(weight, -(weight.shape[2] ** -0.5), weight.shape[2] ** -0.5)
        step = self.dt_projs_bias.uniform_(*map(math.log, _STEPS)).exp()
        self.dt_projs_bias.copy_(step + (-torch.expm1(-step)).log())  # the inverse of softplus

    def forward(self, x: Tensor) -> Tensor:
        grid = x.shape[2:]
        x = self.act(self.conv2d(self.in_proj(x)))
        u = cross_scan(x)
        sizes = (self.rank, self.d_state, self.d_state)
        delta, B, C = (self.x_proj_weight @ u).split(sizes, dim=2)
        delta = self.dt_projs_weight @ delta
        y = self.scan(
            u.flatten(1, 2),
            delta.flatten(1, 2),
            -self.A_logs.to(torch.promote_types(self.A_logs.dtype, torch.float32)).exp(),
            B,
            C,
            self.Ds,
            self.dt_projs_bias.flatten(),
            tuple(grid),
        )
        return self.out_proj(self.out_norm(y))


class VSSBlock(nn.Module):
    """The scan, then a feed-forward network of four times the width, each with a shortcut.

    Args:
        channels: C.
        ssm_ratio: E / C.
        d_state: S.
        drop_path: Probability to skip either part for a sample during training.
        with_cp: Whether to recompute the block in the backward pass to save memory.
    """

    def __init__(
        self, channels: int, ssm_ratio: float, d_state: int, drop_path: float, with_cp: bool
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.norm = norm(channels)
        self.op = SS2D(channels, ssm_ratio, d_state)
        self.drop_path = DropPath(drop_path)
        self.norm2 = norm(channels)
        hidden = 4 * channels
        layers = dict(fc1=Linear2d(channels, hidden), act=nn.GELU(), fc2=Linear2d(hidden, channels))
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpoint(self._mix, x, use_reentrant=False)
        return self._mix(x)

    def _mix(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.op(self.norm(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
