import io
import math

import numpy as np
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmkd.errors import UserError, one_line
from mmkd.registry import TRANSFORMS

_MOST_CLASSES = 255  # MMSegmentation reads label files with 8 bits


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(LoadAnnotations):
    """Load a label like MMSegmentation's ``LoadAnnotations``, and check it against its image.

    Without the check, a label of another size is cropped at another place than its image, and an
    unknown class is left out of the score. Neither gives a message.

    Known class ids are 0 to ``num_classes - 1``, as the dataset gives it, and 255, which is
    ignored.

    Raises:
        UserError: The file is missing or damaged, has several channels, is grey with 2 or 4 bits a
            pixel, has another size than the image, or holds an unknown class id; or the dataset
            does not give ``num_classes``, or gives more than 255.
    """

    def transform(self, results: dict) -> dict:
        path, classes = results['seg_map_path'], results.get('num_classes')
        if classes is None:
            raise UserError(
                'mmkd.LoadCheckedAnnotations: expected a dataset that gives num_classes; use '
                "type='mmkd.FolderDataset', or the transform LoadAnnotations"
            )
        if classes > _MOST_CLASSES:
            raise UserError(
                f'dataset.metainfo.classes: {classes} names: expected at most {_MOST_CLASSES}, '
                'because labels have 8 bits and 255 is ignored; merge classes'
            )
        try:
            file = Image.open(io.BytesIO(fileio.get(path, backend_args=self.backend_args)))
            mode, stretched = file.mode, is_stretched(file)
            results = super().transform(results)
        except Exception as error:  # damaged bytes make a decoder raise almost anything
            reason = one_line(error)
            raise UserError(f'label {path} cannot be read: {reason}') from None
        if mode[0] in 'IF':  # would be truncated to 8 bits
            raise UserError(f'label {path} has the mode {mode}: expected one channel of 8 bits')
        if stretched:
            raise UserError(
                f'label {path} has less than 8 bits a pixel: expected 8, because its ids are read '
                'as shades from 0 to 255; save it with 8 bits'
            )
        label = results['gt_seg_map']
        if 1 in file.size and label.size == math.prod(file.size):
            # MMSegmentation squeezes away a height or width of 1.
            label = results['gt_seg_map'] = label.reshape(file.size[::-1])
        if label.ndim == 3:
            raise UserError(
                f'label {path} has {label.shape[2]} channels: expected one channel of class ids; '
                'convert its colours to ids'
            )
        if label.shape != tuple(results['ori_shape']):
            raise UserError(
                f'label {path} has the shape {label.shape}: expected '
                f'{tuple(results["ori_shape"])}, as its image has'
            )
        unknown = np.bincount(label.ravel(), minlength=256)[classes:255].nonzero()[0]
        if unknown.size:
            # With reduce_zero_label the file's ids are higher by one, and its 0 is ignored too.
            shift = int(bool(results.get('reduce_zero_label')))
            raise UserError(
                f'label {path} holds the class id {classes + unknown[0] + shift}: '
                f'expected 0 to {classes - 1 + shift}, or 255, which is ignored'
            )
        return results


def is_stretched(image: Image.Image) -> bool:
    """Return whether decoders multiply an image's values: a grey PNG's of 2 or 4 bits to 0..255.

    Args:
        image: As ``Image.open`` returns it.
    """
    codings = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in image.tile]
    return any(part in ('L;2', 'L;4') for coding in codings for part in coding)
