import re
from pathlib import Path

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image, UnidentifiedImageError

from mmkd.datasets.folder_dataset import is_hidden
from mmkd.errors import UserError
from mmkd.registry import DATASETS

_LOSSY = ('.jpg', '.jpeg')
_SUFFIXES = (*_LOSSY, '.png', '.bmp', '.tif', '.tiff', '.webp')
# A grey photograph has more values, a label map of one image fewer classes.
_MOST_CLASSES = 64


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """Images without labels: all of a folder and its subfolders that are not hidden, by name.

    ``data_prefix=dict(img_path=...)`` is the folder, below ``data_root``. It must not hold label
    files: images with a palette, or with one channel of at most 64 different values, or of 2 to 64
    colours. Of the images of one folder whose names differ in digits only, one is read for its
    colours.

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
        paths = [path for path in paths if not is_hidden(path.relative_to(folder))]
        if not paths:
            raise UserError(
                f'{key}: expected images ({", ".join(_SUFFIXES)}), but it holds none; '
                'put them there, or set another folder'
            )
        kinds = set()
        for path in paths:
            if path.suffix.lower() in _LOSSY:
                continue
            kind = path.parent, re.sub(r'\d+', '0', path.name)
            if _is_label_map(path, look_at_colours=kind not in kinds):
                raise UserError(
                    f'{key}: expected photographs, but {path.relative_to(folder)} is a label map, '
                    f'or has at most {_MOST_CLASSES} colours like one; move label files out of the '
                    'folder'
                )
            kinds.add(kind)
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


def _is_label_map(path: Path, look_at_colours: bool) -> bool:
    try:
        with Image.open(path) as image:
            if image.mode in ('P', '1'):
                return True
            if image.mode in ('L', 'I', 'I;16'):
                return len(np.unique(np.asarray(image))) <= _MOST_CLASSES
            # A large image takes a tenth of a second, too long to read all of a folder's.
            colours = image.getcolors(_MOST_CLASSES) if look_at_colours else None
            return colours is not None and len(colours) > 1  # a film can begin with a black image
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f'{path}: expected an image; remove or replace it ({error})') from error
