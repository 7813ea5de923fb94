"""Convert the student's preprocessed batch into the batch that the teacher expects."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmkd.errors import UserError
from mmkd.openmmlab.preprocessing import Preprocessing
from mmkd.openmmlab.samples import resized_samples

# Preprocessors that only change the order of channels, the mean and the standard deviation.
_AFFINE_TYPES = (
    'SegDataPreProcessor',
    'DetDataPreprocessor',
    'ClsDataPreprocessor',
    'ImgDataPreprocessor',
)


class TeacherInputs:
    """Convert the student's preprocessed batch to the teacher's.

    The augmented batch is shared, so both networks see the same pixels. Mean, standard deviation
    and channel order are converted exactly. Padding gets the value that the teacher's preprocessor
    would use. Images are resized bilinearly if the teacher takes other sizes than the student.

    Args:
        student, teacher: The two ``data_preprocessor`` configs.
        scale: Factor of the teacher's height and width over the student's.
        multiple: Heights and widths are rounded up to a multiple of this.
        size: The only height and width that the teacher takes; None for any.

    Raises:
        UserError: The two are incompatible, or ``scale`` is set for a teacher of one size.
    """

    def __init__(
        self,
        student: Mapping | None,
        teacher: Mapping | None,
        scale: float = 1.0,
        multiple: int = 1,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.student = Preprocessing.from_config(student)
        self.teacher = Preprocessing.from_config(teacher)
        same = _pixels(self.student) == _pixels(self.teacher)
        for side, preprocessing in (('student', self.student), ('teacher', self.teacher)):
            if not same and preprocessing.type not in _AFFINE_TYPES:
                raise UserError(
                    f'{side} data_preprocessor.type={preprocessing.type!r}: expected the type of '
                    f'the other network, or one of {", ".join(_AFFINE_TYPES)}'
                )
        self._exchange = None if same else self._affine()
        if size is not None and scale != 1:
            raise UserError(
                f'model.teacher.scale={scale}: expected 1.0; this network takes only images of '
                f'{size[0]}x{size[1]}'
            )
        self._scale = scale
        self._size = size
        # Without a scale, the student's images have to fit a config's divisor, as they are.
        self._multiple = math.lcm(multiple, self.teacher.divisor if scale != 1 else 1)

    def _affine(self) -> tuple[Tensor, Tensor, bool]:
        # teacher = student * scale + offset, in the student's channel order before the flip
        flip = self.student.rgb != self.teacher.rgb
        s_mean, s_std, t_mean, t_std = (
            _collapse(torch.tensor(v, dtype=torch.float64))
            for v in (self.student.mean, self.student.std, self.teacher.mean, self.teacher.std)
        )
        if flip:
            s_mean, s_std = s_mean.flip(0), s_std.flip(0)
        counts = {len(v) for v in (s_mean, s_std, t_mean, t_std)} - {1}
        if len(counts) > 1:
            raise UserError(
                f'data_preprocessor.mean and std: expected as many channels for the student as for '
                f'the teacher, not {" and ".join(map(str, sorted(counts)))}; both see one image'
            )
        scale = (s_std / t_std).float().view(1, -1, 1, 1)
        offset = ((s_mean - t_mean) / t_std).float().view(1, -1, 1, 1)
        return scale, offset, flip

    def __call__(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None
    ) -> tuple[Tensor, Sequence[BaseDataElement] | None]:
        """Convert images (B, 3, H, W), and their samples if their size changes.

        Raises:
            UserError: The batch's height or width is not a multiple of the teacher's divisor.
        """
        return self.resize(self._normalise(inputs, data_samples), data_samples)

    def resize(
        self, images: Tensor, data_samples: Sequence[BaseDataElement] | None
    ) -> tuple[Tensor, Sequence[BaseDataElement] | None]:
        """Resize normalised images (B, 3, H, W) to the teacher's size, and their samples."""
        before = tuple(images.shape[-2:])
        after = self.size_of(before)
        if after == before:
            return images, data_samples
        smaller = after[0] < before[0] or after[1] < before[1]
        images = F.interpolate(
            images, after, mode='bilinear', align_corners=False, antialias=smaller
        )
        if data_samples is not None:
            data_samples = resized_samples(data_samples, before, after)
        return images, data_samples

    @property
    def resizes(self) -> bool:
        """Whether the teacher's images can have another size than the student's."""
        return self._scale != 1 or self._size is not None or self._multiple > 1

    def size_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the teacher's height and width for those of the student."""
        if self._size is not None:
            return self._size
        return tuple(
            -(-round(side * self._scale) // self._multiple) * self._multiple for side in size
        )

    def _normalise(self, inputs: Tensor, data_samples: Sequence | None) -> Tensor:
        height, width = inputs.shape[-2:]
        divisor = self.teacher.divisor if self._scale == 1 else 1
        if height % divisor or width % divisor:
            raise UserError(
                f'the student gets {height}x{width} images: expected multiples of {divisor}, which '
                "the teacher's data_preprocessor needs; set the student's data_preprocessor "
                f'size_divisor or pad_size_divisor to {divisor}, or another crop'
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


def _collapse(values: Tensor) -> Tensor:
    """Return one value for all channels where all are the same, of grey images too."""
    return values[:1] if (values == values[0]).all() else values


def _pixels(p: Preprocessing) -> tuple:
    return p.mean, p.std, p.rgb, p.pad_value
