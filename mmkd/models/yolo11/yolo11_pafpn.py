import torch
import torch.nn.functional as F  # noqa: N812
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.models.yolo11.blocks import C3k2, conv
from mmkd.models.yolo11.scales import find_scale
from mmkd.models.yolo11.yolo11_backbone import KAIMING
from mmkd.registry import MODELS


@MODELS.register_module()
class YOLO11PAFPN(BaseModule):
    """YOLO11's layers 11 to 22: a path down the pyramid and one up again.

    It returns layers 16, 19 and 22, at strides 8, 16 and 32. Layers without a weight (upsampling,
    concatenation) do not have a module or an alias. Source: see ``blocks``. The two paths are those
    of Liu et al., "Path Aggregation Network for Instance Segmentation", CVPR 2018.

    Args:
        scale: Scale of the backbone.

    Raises:
        UserError: ``scale`` is unknown.
    """

    tap_aliases = {
        'yolo': {
            13: 'top_down_blocks.0',
            16: 'top_down_blocks.1',
            17: 'downsamples.0',
            19: 'bottom_up_blocks.0',
            20: 'downsamples.1',
            22: 'bottom_up_blocks.1',
        }
    }

    def __init__(self, scale: str, init_cfg: dict | list | None = KAIMING) -> None:
        super().__init__(init_cfg=init_cfg)
        size = find_scale(scale)
        blocks, deep = size.repeats(2), size.deep_blocks
        small, middle, large = (size.channels(planned) for planned in (256, 512, 1024))
        self.top_down_blocks = nn.ModuleList(
            (C3k2(large + middle, middle, blocks, deep), C3k2(2 * middle, small, blocks, deep))
        )
        self.downsamples = nn.ModuleList(
            (conv(small, small, 3, stride=2), conv(middle, middle, 3, stride=2))
        )
        self.bottom_up_blocks = nn.ModuleList(
            (
                C3k2(small + middle, middle, blocks, deep),
                C3k2(middle + large, large, blocks, deep_blocks=True),
            )
        )

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return mixed features with the sizes of ``features``, at strides 8, 16 and 32."""
        stride8, stride16, stride32 = features
        middle = self.top_down_blocks[0](torch.cat((_double(stride32), stride16), 1))
        small = self.top_down_blocks[1](torch.cat((_double(middle), stride8), 1))
        middle = self.bottom_up_blocks[0](torch.cat((self.downsamples[0](small), middle), 1))
        large = self.bottom_up_blocks[1](torch.cat((self.downsamples[1](middle), stride32), 1))
        return small, middle, large


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode='nearest')
