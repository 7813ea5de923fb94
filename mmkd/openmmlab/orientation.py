"""Read a photo in the frame that its annotations are in: as it is stored, or as EXIF shows it.

A camera that was held upright or upside down stores the sensor's rows and notes in EXIF how to turn
them (orientation 2 to 8; 1 is not turned). MMCV turns the image as it reads it. Boxes and label
maps stay as they are, and whether they belong to the stored or to the shown image depends on the
tool that made them.
"""

import copy
import io
from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from PIL import Image, UnidentifiedImageError

from mmkd.errors import UserError

_ORIENTATION = 0x0112  # the EXIF tag, which TIFF shares
_STORED = '_ignore_orientation'
_WAY = (
    " (exiftran -a), or set color_type='color_ignore_orientation' of LoadImageFromFile if they are "
    'of the image as stored'
)


def load_in_annotated_frame(loader: LoadImageFromFile, results: dict, load: Any) -> dict | None:
    """Load an image with ``load(loader, results)``, in the frame of its annotations.

    Orientations 5 to 8 exchange height and width, so the size that the annotation states tells
    the frame. Where no size tells it, a loader with ``color_type='color_ignore_orientation'``
    (or ``unchanged``) reads the image as stored. Images without annotations are read as shown.

    Boxes are of an image of the size that their annotation states. In one of another size, such as
    a copy made smaller, they would lie elsewhere.

    Args:
        loader: The transform.
        results: The sample, with ``img_path`` and what its dataset knows of it.
        load: MMCV's own ``transform``.

    Raises:
        UserError: The image is turned, and nothing tells which frame its annotations are in, or its
            decoder does not yield that frame; or it has another size than its boxes' annotation
            states.
    """
    if not _is_annotated(results):
        return load(loader, results)
    stated = _stated_size(results)
    loaded = _load_turned(loader, results, load)
    if loaded is not None and stated and loaded['img'].shape[:2] != stated:
        height, width = loaded['img'].shape[:2]
        raise UserError(
            f'image {results["img_path"]} is {height} x {width} pixels: expected {stated[0]} x '
            f'{stated[1]}, as its annotation states; its boxes would lie elsewhere: use the image '
            'that was annotated, or mend the annotation'
        )
    return loaded


def _load_turned(loader: LoadImageFromFile, results: dict, load: Any) -> dict | None:
    path = results['img_path']
    orientation, stored_size, is_tiff = _load_header(loader, path)
    if orientation == 1:
        return load(loader, results)
    as_stored = _tell_frame(results, orientation, stored_size)
    reads_stored = loader.color_type == 'unchanged' or loader.color_type.endswith(_STORED)
    if as_stored is None and (is_tiff or not reads_stored):
        way = '' if is_tiff else _WAY  # OpenCV and Pillow turn a TIFF in any case
        raise UserError(
            f'image {path}: EXIF orientation {orientation}: expected 1, because nothing tells '
            f'whether its annotations are of the turned image; turn the file upright{way}'
        )
    if as_stored is not None and as_stored != reads_stored:
        loader = copy.copy(loader)
        if as_stored:
            loader.color_type += _STORED
        elif loader.color_type == 'unchanged':
            loader.color_type = 'color'
        else:
            loader.color_type = loader.color_type.removesuffix(_STORED)
    loaded = load(loader, results)
    expected = stored_size[::-1] if as_stored is False else stored_size
    if loaded is not None and loaded['img'].shape[:2] != expected:
        raise UserError(
            f'image {path}: EXIF orientation {orientation}: its decoder '
            f'{"does not turn" if as_stored is False else "turns"} this format, and its '
            f'annotations are of {expected[0]} x {expected[1]} pixels; turn the file upright'
        )
    return loaded


def _is_annotated(results: dict) -> bool:
    return bool(results.get('instances')) or bool(results.get('seg_map_path'))


def _load_header(loader: LoadImageFromFile, path: str) -> tuple[int, tuple[int, int], bool]:
    """Return an image's EXIF orientation, its height and width as stored, and if it is a TIFF."""
    try:
        local = '://' not in path and not loader.backend_args
        source = path if local else io.BytesIO(fileio.get(path, loader.backend_args))
        with Image.open(source) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            is_tiff = image.format == 'TIFF'
            # Pillow's size of a TIFF is that of the turned image.
            size = (image.tag_v2[257], image.tag_v2[256]) if is_tiff else image.size[::-1]
            return (orientation if orientation in range(2, 9) else 1), size, is_tiff
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return 1, (0, 0), False  # the loader itself says what is wrong with the file


def _tell_frame(results: dict, orientation: int, stored: tuple[int, int]) -> bool | None:
    """Return whether the annotations are of the image as stored, None if nothing tells it."""
    if orientation < 5 or stored[0] == stored[1]:
        return None
    size = _annotated_size(results)
    return {stored: True, stored[::-1]: False}.get(size)


def _annotated_size(results: dict) -> tuple[int, int] | None:
    if results.get('instances'):
        return _stated_size(results)
    try:
        with Image.open(results['seg_map_path']) as label:
            return label.size[::-1]
    except (OSError, ValueError, SyntaxError):
        return None


def _stated_size(results: dict) -> tuple[int, int] | None:
    """Return height and width that the annotation of boxes states, None if it does not."""
    size = results.get('height'), results.get('width')
    # Some tools write 0 for a size that they do not know.
    known = bool(results.get('instances')) and all(size) and results.get('size_is_stated', True)
    return size if known else None
