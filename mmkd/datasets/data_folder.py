"""Make dataloaders for a folder of images and label maps."""

import copy
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image

from mmkd.datasets.load_checked_annotations import is_stretched
from mmkd.errors import UserError

IGNORED = 255
_LOADERS = {
    'LoadImageFromFile',
    'LoadAnnotations',
    'LoadCheckedAnnotations',
    'RenderStreet',
    'SeedTransforms',
}


def folder_classes(root: str | Path) -> tuple[str, ...]:
    """Return the names of a data folder's classes.

    They stand in ``classes.txt``, one a line, in the order of their ids. Without that file they
    are ``class_0``, ``class_1``, … up to the largest id in the training labels.

    Raises:
        UserError: The folder has no label maps, one cannot be read, or ``classes.txt`` is empty,
            is not UTF-8 or holds a name twice.
    """
    names = Path(root) / 'classes.txt'
    if names.is_file():
        return _read_classes(names)
    labels = sorted((Path(root) / 'train' / 'labels').glob('[!.]*.png'))
    if not labels:
        raise UserError(
            f'--data={root}: expected train/images, train/labels, val/images and val/labels with '
            'PNG label maps; see docs/own_data.md'
        )
    largest = 0
    for path in labels:
        ids = np.unique(_read_label(path))
        largest = max(largest, *ids[ids != IGNORED].tolist(), 0)
    return tuple(f'class_{i}' for i in range(largest + 1))


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding='utf-8-sig')  # some editors write a byte-order mark
    except UnicodeDecodeError:
        raise UserError(f'{path}: expected UTF-8; save it so') from None
    classes = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not classes:
        raise UserError(f'{path}: expected one class name a line; it is empty')
    twice = [name for i, name in enumerate(classes) if name in classes[:i]]
    if twice:
        raise UserError(f'{path}: expected each class name once; remove one {twice[0]!r}')
    return classes


def _read_label(path: Path) -> np.ndarray:
    """Return the ids (H, W) of a label map, as training reads them."""
    try:
        label = Image.open(path)
        # A palette's indices are the ids.
        if label.mode in ('L', 'P', '1') and not is_stretched(label):
            return np.asarray(label)
    except (OSError, SyntaxError, ValueError):  # what Pillow raises of damaged bytes
        raise UserError(
            f'{path}: expected a PNG label map, but it cannot be read; replace it'
        ) from None
    raise UserError(
        f'{path}: expected a PNG of one channel of 8 bits that holds class ids; it has '
        + (
            'fewer bits: save it with 8'
            if label.mode == 'L'
            else f'the mode {label.mode}, so convert its colours to ids'
        )
    )


def folder_dataloaders(root: str | Path, config: Config) -> dict[str, dict]:
    """Return the keys of a config that read a data folder in place of the config's own data.

    Augmentation, batch size and workers stay those of ``config``.

    Args:
        root: Holds ``train`` and ``val``, each with ``images`` and ``labels``.
        config: A segmentation config.

    Raises:
        UserError: The folder does not have this layout.
    """
    classes = folder_classes(root)
    overrides = {}
    for key, split in (('train_dataloader', 'train'), ('val_dataloader', 'val')):
        folder = Path(root) / split
        for part in ('images', 'labels'):
            if not (folder / part).is_dir():
                raise UserError(f'--data={root}: expected a folder {split}/{part}; create it')
        dataset = dict(
            _delete_=True,
            type='mmkd.FolderDataset',
            data_root=str(root),
            img_suffix=_suffix(folder / 'images'),
            data_prefix=dict(img_path=f'{split}/images', seg_map_path=f'{split}/labels'),
            metainfo=dict(classes=classes, palette=_palette(len(classes))),
            pipeline=_pipeline(config, key),
        )
        overrides[key] = dict(dataset=dataset)
    # A copy, because MMEngine takes `_delete_` out of what it merges.
    overrides['test_dataloader'] = copy.deepcopy(overrides['val_dataloader'])
    evaluator = config.get('val_evaluator')
    if isinstance(evaluator, dict):
        evaluator = dict(_delete_=True, **evaluator)
    overrides['test_evaluator'] = copy.deepcopy(evaluator)
    if not config.get('test_cfg'):  # MMEngine wants all three, or none
        overrides['test_cfg'] = dict(type='TestLoop')
    return overrides


def _suffix(folder: Path) -> str:
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != '.']
    suffixes = {path.suffix for path in files}
    if len(suffixes) != 1:
        found = ', '.join(sorted(suffixes)) or 'no file'
        raise UserError(f'{folder}: expected images of one suffix, found {found}; convert them')
    return suffixes.pop()


def _pipeline(config: Config, key: str) -> list[dict]:
    train, dataset = key == 'train_dataloader', config[key].dataset
    while 'pipeline' not in dataset:  # a wrapper, of one dataset or of several
        inner = dataset.get('dataset') or next(iter(dataset.get('datasets') or []), None)
        if inner is None:
            raise UserError(f'{key}.dataset.pipeline: expected transforms of the images; add them')
        dataset = inner
    rest = [dict(step) for step in dataset['pipeline'] if not _loads(step)]
    first = [dict(type='mmkd.SeedTransforms')] if train else []
    loaders = [dict(type='LoadImageFromFile'), dict(type='mmkd.LoadCheckedAnnotations')]
    return first + loaders + rest if train else [loaders[0], *_before_labels(rest, loaders[1])]


def _before_labels(rest: list[dict], labels: dict) -> list[dict]:
    # In validation label maps keep their size: they are loaded after the image was resized.
    return [*rest[:-1], labels, *rest[-1:]]


def _loads(step: dict) -> bool:
    return str(step['type']).rpartition('.')[2] in _LOADERS


def _palette(count: int) -> list[list[int]]:
    hues = np.uint8([[[180 * i // count, 160, 220] for i in range(count)]])
    return cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0].tolist()
