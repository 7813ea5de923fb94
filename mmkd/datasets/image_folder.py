from pathlib import Path

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image, UnidentifiedImageError

from mmkd.errors import UserError
from mmkd.registry import DATASETS

_LOSSY = ('.jpg', '.jpeg')
_SUFFIXES = (*_LOSSY, '.png', '.bmp', '.tif', '.tiff', '.webp')
# A grey photograph has more values, a label map of one image fewer classes.
_MOST_CLASSES = 64


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """Images without labels: all of a folder and its subfolders, by name.

    ``data_prefix=dict(img_path=...)`` is the folder, below ``data_root``. It must not hold label
    files: images with a palette, or with one channel of at most 64 different values.

    Raises:
        UserError: the folder does not exist, is empty or holds label files, or an image cannot be
            read.
    """

    def load_data_list(self) -> list[dict]:
        folder = Path(self.data_prefix.get('img_path') or '')
        key = f'dataset.data_prefix.img_path={folder}'
        if not self.data_prefix.get('img_path') or not folder.is_dir():
            raise UserError(f'{key}: expected a folder of images; create it, or set another')
        paths = sorted(p for p in folder.rglob('*') if p.suffix.lower() in _SUFFIXES)
        if not paths:
            raise UserError(
                f'{key}: expected images ({", ".join(_SUFFIXES)}), but it holds none; '
                'put them there, or set another folder'
            )
        for path in paths:
            if path.suffix.lower() not in _LOSSY and _is_label_map(path):
                raise UserError(
                    f'{key}: expected photographs, but {path.relative_to(folder)} is a label map; '
                    'move label files out of the folder'
                )
        return [dict(img_path=str(path)) for path in paths]

    def prepare_data(self, idx: int) -> dict:
        try:
            return super().prepare_data(idx)
        except (AssertionError, OSError, cv2.error) as error:
            path = self.get_data_info(idx)['img_path']
            reason = ' '.join(str(error).split())[:120]
            raise UserError(
                f'{path}: expected an image; remove or replace it ({reason})'
            ) from error


def _is_label_map(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            if image.mode in ('P', '1'):
                return True
            one_channel = image.mode in ('L', 'I', 'I;16')
            return one_channel and len(np.unique(np.asarray(image))) <= _MOST_CLASSES
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f'{path}: expected an image; remove or replace it ({error})') from error
