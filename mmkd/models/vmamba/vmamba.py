import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.models.vmamba.blocks import VSSBlock, norm
from mmkd.models.vmamba.published_weights import load_published_weights
from mmkd.registry import MODELS


@dataclass(frozen=True)
class Size:
    """Number of blocks of each stage, channels of the first stage, and E / C (see ``blocks``)."""

    depths: tuple[int, int, int, int]
    dims: int
    ssm_ratio: float = 1.0


# `s2l5` and `s2l15`, with ssm_ratio 2, are the published names; nano is defined here.
ARCHS = {
    'nano': Size((2, 2, 6, 2), 32),
    'tiny': Size((2, 2, 8, 2), 96),
    'small': Size((2, 2, 20, 2), 96),
    'base': Size((2, 2, 20, 2), 128),
    'tiny_s2l5': Size((2, 2, 5, 2), 96, 2.0),
    'small_s2l15': Size((2, 2, 15, 2), 96, 2.0),
    'base_s2l15': Size((2, 2, 15, 2), 128, 2.0),
}


@MODELS.register_module()
class VMamba(BaseModule):
    """VMamba as a backbone: four stages at strides 4, 8, 16 and 32, channels doubling.

    It takes images (B, 3, H, W) of any size from 32 up. For each stage i of ``out_indices`` it
    returns (B, dims * 2^i, ceil(H / 2^(i+2)), ceil(W / 2^(i+2))), after a LayerNorm ``outnorm<i>``.
    To tap a stage before that norm, which equalises positions, use ``backbone.layers.<i>.blocks``.
    To tap the inputs of a block's scan, use ``op.scan``.

    Weights have the names of the published checkpoints. Load their ``model`` entry with
    ``init_cfg=dict(type='Pretrained', checkpoint=...)``. The classifier is left out, and output
    norms that the file lacks keep their initial values. Source: see ``blocks``.

    Args:
        arch: ``'nano'`` (3 M parameters), ``'tiny'`` (29 M), ``'small'``, ``'base'``, or with twice
            the channels in the scan ``'tiny_s2l5'``, ``'small_s2l15'``, ``'base_s2l15'``.
        depths: Number of blocks of each stage, instead of ``arch``.
        dims: Channels of the first stage, even; with ``depths``.
        ssm_ratio: Channels of the scan over those of its block; with ``depths``, 1 by default.
        d_state: States per channel; 1 in every published checkpoint.
        out_indices: Stages to return, in rising order.
        frozen_stages: Number of stages to freeze, with all before them. -1 freezes nothing, 0 the
            patch embedding.
        drop_path_rate: Probability to skip the last block during training. It falls linearly to 0
            at the first block.
        with_cp: Whether to recompute blocks in the backward pass to save memory.
        init_cfg: How to initialise the weights.

    Raises:
        UserError: An argument is invalid. From ``init_weights``: the checkpoint is of another
            network.
    """

    def __init__(
        self,
        arch: str | None = None,
        depths: Sequence[int] | None = None,
        dims: int | None = None,
        ssm_ratio: float | None = None,
        d_state: int = 1,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        size = _find_size(arch, depths, dims, ssm_ratio)
        if not _is_whole(d_state, 1):
            raise UserError(f'd_state={d_state!r}: expected an integer >= 1')
        if not isinstance(drop_path_rate, int | float) or not 0 <= drop_path_rate < 1:
            raise UserError(f'drop_path_rate={drop_path_rate!r}: expected a number in [0, 1)')
        listed = isinstance(out_indices, list | tuple) and len(out_indices) > 0
        if not listed or list(out_indices) != [i for i in range(4) if i in out_indices]:
            raise UserError(f'out_indices={out_indices!r}: expected some of 0, 1, 2 and 3, rising')
        if not _is_whole(frozen_stages, -1) or frozen_stages > 4:
            raise UserError(f'frozen_stages={frozen_stages!r}: expected -1 to 4')
        self.out_indices, self.frozen_stages = tuple(out_indices), frozen_stages
        channels = [size.dims * 2**i for i in range(4)]
        last = sum(size.depths) - 1
        rates = [drop_path_rate * i / last for i in range(last + 1)]
        ends = list(accumulate(size.depths))
        # Names of layers in a stage and in the embedding match the published weights.
        self.patch_embed = _numbered(
            {
                0: nn.Conv2d(3, size.dims // 2, 3, stride=2, padding=1),
                2: norm(size.dims // 2),
                4: nn.GELU(),
                5: nn.Conv2d(size.dims // 2, size.dims, 3, stride=2, padding=1),
                7: norm(size.dims),
            }
        )
        self.layers = nn.ModuleList()
        for i, (width, end) in enumerate(zip(channels, ends, strict=True)):
            blocks = nn.Sequential(
                *(
                    VSSBlock(width, size.ssm_ratio, d_state, rate, with_cp)
                    for rate in rates[end - size.depths[i] : end]
                )
            )
            stage = OrderedDict(blocks=blocks)
            if i < 3:
                halve = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
                stage['downsample'] = _numbered({1: halve, 3: norm(2 * width)})
            self.layers.append(nn.Sequential(stage))
        for i in self.out_indices:
            self.add_module(f'outnorm{i}', norm(channels[i]))
        self._freeze()

    def init_weights(self) -> None:
        start = self.init_cfg
        if isinstance(start, dict) and start.get('type') == 'Pretrained':
            if not start.get('checkpoint'):
                raise UserError('backbone.init_cfg.checkpoint=None: expected a path or URL')
            load_published_weights(self, start['checkpoint'], start.get('prefix', ''))
        else:
            super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = []
        x = self.patch_embed(x)
        for i, stage in enumerate(self.layers):
            x = stage.blocks(x)
            if i in self.out_indices:
                outputs.append(getattr(self, f'outnorm{i}')(x))
            if i < 3:
                x = stage.downsample(x)
        return tuple(outputs)

    def train(self, mode: bool = True) -> 'VMamba':
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        frozen = [self.patch_embed, *self.layers[: self.frozen_stages]]
        frozen += [getattr(self, f'outnorm{i}') for i in self.out_indices if i < self.frozen_stages]
        for module in frozen:
            module.eval().requires_grad_(False)


def _find_size(
    arch: str | None,
    depths: Sequence[int] | None,
    dims: int | None,
    ssm_ratio: float | None,
) -> Size:
    given = dict(depths=depths, dims=dims, ssm_ratio=ssm_ratio)
    given = {name: value for name, value in given.items() if value is not None}
    if arch is not None:
        if not isinstance(arch, str) or arch not in ARCHS:
            raise UserError(f'arch={arch!r}: expected a size of VMamba: {", ".join(ARCHS)}')
        if given:
            raise UserError(f'arch={arch!r} with {", ".join(given)}: expected one of the two')
        return ARCHS[arch]
    if depths is None or dims is None:
        raise UserError('VMamba: expected arch, or depths and dims')
    listed = isinstance(depths, list | tuple) and len(depths) == 4
    if not listed or not all(_is_whole(depth, 1) for depth in depths):
        raise UserError(f'depths={depths!r}: expected four numbers of blocks')
    if not _is_whole(dims, 2) or dims % 2:
        raise UserError(f'dims={dims!r}: expected an even number of channels of the first stage')
    ssm_ratio = 1.0 if ssm_ratio is None else ssm_ratio
    if not isinstance(ssm_ratio, int | float) or not 1 <= ssm_ratio * dims < math.inf:
        raise UserError(f'ssm_ratio={ssm_ratio!r}: expected a number >= 1 / dims')
    return Size(tuple(depths), dims, ssm_ratio)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and value >= least


def _numbered(layers: dict[int, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict((str(i), layer) for i, layer in layers.items()))
