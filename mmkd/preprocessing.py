"""One batch, two networks: the student's preprocessed images as the teacher expects them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmkd.errors import UserError

# Preprocessors whose effect on pixels is an order of channels, a mean and a standard deviation.
_AFFINE_TYPES = ('SegDataPreProcessor', 'DetDataPreprocessor', 'ImgDataPreprocessor')


@dataclass(frozen=True)
class Preprocessing:
    """What a data preprocessor does to an image that was read as BGR, 0 to 255.

    Attributes:
        type: the preprocessor's type, without scope.
        mean, std: per channel, in the network's channel order; 0 and 1 if it normalises nothing.
        rgb: whether the network sees RGB.
        divisor: the network's height and width are padded to a multiple of this.
        pad_value: what padding holds, after normalisation.
    """

    type: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rgb: bool
    divisor: int
    pad_value: float

    @classmethod
    def from_config(cls, config: dict | None) -> 'Preprocessing':
        """Read a ``data_preprocessor`` config."""
        config = config or {}
        test = config.get('test_cfg') or {}
        divisor = (
            config.get('size_divisor')
            or config.get('pad_size_divisor')
            or test.get('size_divisor')
            or 1
        )
        return cls(
            type=str(config.get('type', 'ImgDataPreprocessor')).rsplit('.', 1)[-1],
            mean=_three(config.get('mean'), 0.0),
            std=_three(config.get('std'), 1.0),
            rgb=bool(config.get('bgr_to_rgb') or config.get('rgb_to_bgr')),
            divisor=divisor,
            pad_value=config.get('pad_val', config.get('pad_value', 0)),
        )

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width that the network gets of images of ``size``."""
        return tuple(-(-side // self.divisor) * self.divisor for side in size)

    def check_size(self, size: tuple[int, int], option: str) -> None:
        """Refuse a size, given by ``option``, that images never have after padding.

        Raises:
            UserError: it is no multiple of the divisor.
        """
        if self.padded(size) != size:
            raise UserError(
                f'{option}; allowed: multiples of {self.divisor}, to which the '
                "network's data_preprocessor pads"
            )


class TeacherInputs:
    """Turns the student's preprocessed batch into the teacher's.

    The augmented batch is shared, so both networks see the same pixels; mean, standard
    deviation and channel order are exchanged exactly, and padding is filled with what the
    teacher's own preprocessor would have put there.

    Args:
        student, teacher: the two ``data_preprocessor`` configs.

    Raises:
        UserError: the two cannot be brought together.
    """

    def __init__(self, student: dict | None, teacher: dict | None) -> None:
        self.student = Preprocessing.from_config(student)
        self.teacher = Preprocessing.from_config(teacher)
        same = _pixels(self.student) == _pixels(self.teacher)
        for side, preprocessing in (('student', self.student), ('teacher', self.teacher)):
            if not same and preprocessing.type not in _AFFINE_TYPES:
                raise UserError(
                    f'{side} data_preprocessor.type={preprocessing.type!r} differs from the other '
                    f"network's and cannot be exchanged; allowed: {', '.join(_AFFINE_TYPES)}"
                )
        self._exchange = None if same else self._affine()

    def _affine(self) -> tuple[Tensor, Tensor, bool]:
        # teacher = student * scale + offset, in the student's channel order before the flip
        flip = self.student.rgb != self.teacher.rgb
        s_mean, s_std, t_mean, t_std = (
            torch.tensor(v, dtype=torch.float64)
            for v in (self.student.mean, self.student.std, self.teacher.mean, self.teacher.std)
        )
        if flip:
            s_mean, s_std = s_mean.flip(0), s_std.flip(0)
        scale = (s_std / t_std).float().view(1, -1, 1, 1)
        offset = ((s_mean - t_mean) / t_std).float().view(1, -1, 1, 1)
        return scale, offset, flip

    def __call__(self, inputs: Tensor, data_samples: Sequence | None) -> Tensor:
        """Convert (N, 3, H, W) images.

        Raises:
            UserError: the batch's height or width does not suit the teacher's divisor.
        """
        height, width = inputs.shape[-2:]
        divisor = self.teacher.divisor
        if height % divisor or width % divisor:
            raise UserError(
                f'the student is fed {height}x{width} images, but the teacher needs multiples of '
                f"{divisor} (its data_preprocessor); set the student's data_preprocessor "
                f'size_divisor or pad_size_divisor to {divisor}, or a crop that is one'
            )
        if self._exchange is None:
            return inputs
        scale, offset, flip = self._exchange
        pixels = inputs.flip(1) if flip else inputs
        converted = pixels * scale.to(inputs) + offset.to(inputs)
        for i, sample in enumerate(data_samples or ()):
            h, w = sample.metainfo.get('img_shape', (height, width))[:2]
            if h < height or w < width:
                image = converted[i, :, :h, :w]
                padding = (0, width - w, 0, height - h)
                converted[i] = F.pad(image, padding, value=float(self.teacher.pad_value))
        return converted


def _pixels(p: Preprocessing) -> tuple:
    return p.mean, p.std, p.rgb, p.pad_value


def _three(values: Sequence[float] | None, default: float) -> tuple[float, ...]:
    if values is None:
        return (default,) * 3
    return tuple(float(v) for v in values) * (3 if len(values) == 1 else 1)
