"""Look for the images that a dataset lists before training meets one that is not there."""

import glob
import os
import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmcv.transforms import LoadImageFromFile

from mmkd.datasets.wrapped_datasets import walk_datasets, wrapped_datasets
from mmkd.errors import UserError


def check_images_exist(dataset: Any) -> None:
    """Check that the image files of a dataset exist, and those of the datasets that it wraps.

    What is rendered, or loaded from another place than local files, is not looked at.

    Raises:
        UserError: One does not exist.
    """
    for part in walk_datasets(dataset):
        if wrapped_datasets(part) or not _reads_local_files(part):
            continue
        listed = (part.get_data_info(i).get('img_path') for i in range(len(part)))
        paths = [path for path in listed if isinstance(path, str) and '://' not in path]
        missing = missing_files(paths)
        if missing:
            listed_in = getattr(part, 'ann_file', None)
            raise UserError(
                f'dataset.ann_file={listed_in}: expected the images that it lists; '
                f'{len(missing)} of {len(paths)} do not exist, such as {missing[0]}'
                f'{_hint(missing[0])}: add them, or take them out of ann_file'
            )


def finds_no_image(error: ValueError) -> bool:
    """Return whether an error, or its cause, is how MMEngine's datasets end without an item.

    Their constructor joins the items (mmengine 0.10, ``BaseDataset._serialize_data``).
    """
    return 'need at least one array to concatenate' in str(error.__cause__ or error)


def missing_files(paths: Sequence[str]) -> list[str]:
    """Return the paths that are not files, links to missing files among them."""
    # One listing for each folder: many looks at single files are slow on network drives.
    there = {folder: _files(folder) for folder in {osp.dirname(path) or '.' for path in paths}}
    return [p for p in paths if osp.basename(p) not in there[osp.dirname(p) or '.']]


def _files(folder: str) -> frozenset[str]:
    if not osp.isdir(folder):
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if entry.is_file())


def _reads_local_files(dataset: Any) -> bool:
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', [])
    return hasattr(dataset, 'get_data_info') and any(
        isinstance(step, LoadImageFromFile)
        and not (step.backend_args or step.file_client_args or step.ignore_empty)
        for step in steps
    )


def _hint(path: str) -> str:
    """Name a file that differs from ``path`` in its suffix alone."""
    found = glob.glob(glob.escape(osp.splitext(path)[0]) + '.*')
    return f' (but {osp.basename(found[0])})' if found else ''
