"""Find out what a ``data_preprocessor`` does to images, and let it pad them to one size."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmdet.models import BatchFixedSizePad, DetDataPreprocessor
from mmengine.model import BaseDataPreprocessor
from mmseg.models import SegDataPreProcessor
from torch import Tensor, nn

from mmkd.config.types import type_name
from mmkd.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """What a data preprocessor does to a BGR image with values 0 to 255.

    Attributes:
        type: The preprocessor's type, without scope.
        mean, std: Per channel, in the network's channel order; 0 and 1 without normalisation.
        rgb: Whether the network takes RGB.
        divisor: Height and width are padded to a multiple of this.
        pad_value: Value of the padding, after normalisation.
        test_size: Height and width to which smaller test images are padded.
    """

    type: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rgb: bool
    divisor: int
    pad_value: float
    test_size: tuple[int, int] | None = None

    @classmethod
    def from_config(cls, config: dict | None, testing: bool = False) -> 'Preprocessing':
        """Create it from a ``data_preprocessor`` config.

        Args:
            config: The config.
            testing: Whether it is for test images: MMSegmentation pads them by ``test_cfg`` alone.
        """
        config = config or {}
        test = config.get('test_cfg') or {}
        own = None if testing else config.get('size_divisor')
        divisor = own or config.get('pad_size_divisor') or test.get('size_divisor') or 1
        mean = config.get('mean')
        return cls(
            type=type_name(config.get('type', 'ImgDataPreprocessor')),
            mean=_three(mean, 0.0),
            # Without a mean, MMSegmentation 1.2.2 and MMPretrain do not look at it.
            std=_three(None if mean is None else config.get('std'), 1.0),
            rgb=any(config.get(key) for key in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')),
            divisor=divisor,
            pad_value=config.get('pad_val', config.get('pad_value', 0)),
            test_size=tuple(test['size']) if testing and test.get('size') else None,
        )

    @property
    def pads(self) -> bool:
        """Whether images can get a padding."""
        return self.divisor > 1 or self.test_size is not None

    @property
    def padding_colour(self) -> tuple[int, int, int]:
        """The padding in an image that is not normalised: BGR, 0 to 255, rounded."""
        colour = [m + s * self.pad_value for m, s in zip(self.mean, self.std, strict=True)]
        colour = [min(max(round(value), 0), 255) for value in colour]
        return tuple(reversed(colour) if self.rgb else colour)

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width that the network gets for images of ``size``."""
        size = tuple(map(max, size, self.test_size)) if self.test_size else size
        return tuple(-(-side // self.divisor) * self.divisor for side in size)

    def check_size(self, size: tuple[int, int], option: str) -> None:
        """Check that images can have a size, given by ``option``, after padding.

        Raises:
            UserError: The size is not a multiple of the divisor.
        """
        if any(side % self.divisor for side in size):
            raise UserError(
                f'{option}: expected multiples of {self.divisor}, the size_divisor of the '
                "network's data_preprocessor"
            )


def check_size(images: Sequence[Tensor], preprocessor: BaseDataPreprocessor, key: str) -> None:
    """Check that images (3, H, W) fit the ``size`` to which MMSegmentation's preprocessor pads.

    Args:
        images: The images.
        preprocessor: One of another library, or without ``size``, takes any.
        key: What of the config yields the images, for messages.

    Raises:
        UserError: One is larger, so the preprocessor could not stack them.
    """
    size = getattr(preprocessor, 'size', None)
    for image in images if isinstance(preprocessor, SegDataPreProcessor) and size else ():
        height, width = image.shape[-2:]
        if height > size[0] or width > size[1]:
            raise UserError(
                f'{key}: expected images of at most {size[0]}x{size[1]}, the size of the '
                f"student's data_preprocessor, got {height}x{width}; end it with RandomCrop"
            )


def pad_batches_to(size: tuple[int, int] | None, preprocessor: BaseDataPreprocessor) -> None:
    """Let a preprocessor pad every training batch to ``size`` (h, w), not to its largest image.

    With None it is only checked. MMSegmentation's are left alone if they have a ``size`` already.

    Raises:
        UserError: It is not MMSegmentation's or MMDetection's, or it augments batches.
    """
    if getattr(preprocessor, 'batch_augments', None):
        raise UserError(
            'data_preprocessor.batch_augments: expected none with teacher views, because they are '
            'drawn anew for each batch; remove them'
        )
    if size is None:
        return
    if isinstance(preprocessor, SegDataPreProcessor):
        if preprocessor.size is None:
            preprocessor.size, preprocessor.size_divisor = size, None
    elif isinstance(preprocessor, DetDataPreprocessor):
        padding = _FixedSizePad(
            size,
            img_pad_value=preprocessor.pad_value,
            pad_mask=preprocessor.pad_mask,
            mask_pad_value=preprocessor.mask_pad_value,
            pad_seg=preprocessor.pad_seg,
            seg_pad_value=preprocessor.seg_pad_value,
        )
        preprocessor.batch_augments = nn.ModuleList([padding])
    else:
        raise UserError(
            f'data_preprocessor.type={type(preprocessor).__name__}: expected images of one size '
            'with teacher views; crop or resize them in the pipeline'
        )


class _FixedSizePad(BatchFixedSizePad):
    """Pad to one size and leave each image's ``pad_shape``, in which its anchors are valid.

    MMDetection 3.5.1 sets it to the whole size, but not beside an image that has that size already
    (``findings/mmdet_batch_fixed_size_pad.sh``).
    """

    def forward(self, inputs: Tensor, data_samples: list | None = None) -> tuple:
        shapes = [sample.pad_shape for sample in data_samples or ()]
        inputs, data_samples = super().forward(inputs, data_samples)
        for sample, shape in zip(data_samples or (), shapes, strict=True):
            sample.set_metainfo(dict(pad_shape=shape))
        return inputs, data_samples


def _three(values: Sequence[float] | None, default: float) -> tuple[float, ...]:
    if values is None:
        return (default,) * 3
    return tuple(float(v) for v in values) * (3 if len(values) == 1 else 1)
