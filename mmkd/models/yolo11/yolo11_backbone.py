import math

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.models.yolo11.blocks import C2PSA, SPPF, C3k2, conv
from mmkd.models.yolo11.scales import find_scale
from mmkd.registry import MODELS

# PyTorch's default initialisation of convolutions, instead of ConvModule's.
KAIMING = dict(
    type='Kaiming',
    layer='Conv2d',
    a=math.sqrt(5),
    distribution='uniform',
    mode='fan_in',
    nonlinearity='leaky_relu',
)


@MODELS.register_module()
class YOLO11Backbone(BaseModule):
    """YOLO11's layers 0 to 10: a stem, four stages, then pooling and attention.

    It returns layers 4, 6 and 10, at strides 8, 16 and 32. Source: see ``blocks``.

    Args:
        scale: ``'n'``, ``'s'``, ``'m'``, ``'l'`` or ``'x'``.

    Raises:
        UserError: ``scale`` is unknown.
    """

    tap_aliases = {
        'yolo': {
            0: 'stem',
            1: 'stage1.0',
            2: 'stage1.1',
            3: 'stage2.0',
            4: 'stage2.1',
            5: 'stage3.0',
            6: 'stage3.1',
            7: 'stage4.0',
            8: 'stage4.1',
            9: 'stage4.2',
            10: 'stage4.3',
        }
    }

    def __init__(self, scale: str, init_cfg: dict | list | None = KAIMING) -> None:
        super().__init__(init_cfg=init_cfg)
        size = find_scale(scale)
        width = size.channels
        blocks = size.repeats(2)
        deep = size.deep_blocks
        self.stem = conv(3, width(64), 3, stride=2)
        self.stage1 = nn.Sequential(
            conv(width(64), width(128), 3, stride=2),
            C3k2(width(128), width(256), blocks, deep, expansion=0.25),
        )
        self.stage2 = nn.Sequential(
            conv(width(256), width(256), 3, stride=2),
            C3k2(width(256), width(512), blocks, deep, expansion=0.25),
        )
        self.stage3 = nn.Sequential(
            conv(width(512), width(512), 3, stride=2),
            C3k2(width(512), width(512), blocks, deep_blocks=True),
        )
        self.stage4 = nn.Sequential(
            conv(width(512), width(1024), 3, stride=2),
            C3k2(width(1024), width(1024), blocks, deep_blocks=True),
            SPPF(width(1024)),
            C2PSA(width(1024), blocks),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features at strides 8, 16 and 32 of (B, 3, H, W); H and W are multiples of 32."""
        stride8 = self.stage2(self.stage1(self.stem(x)))
        stride16 = self.stage3(stride8)
        return stride8, stride16, self.stage4(stride16)
