"""Find the classes of a config that no training label holds."""

import logging
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from mmkd.datasets.class_order import classes_of
from mmkd.datasets.wrapped_datasets import walk_datasets, wrapped_datasets

_LABELS_READ = 1000  # of a large dataset, chosen at random
_IGNORED = 255


def report_absent_classes(dataset: Any) -> None:
    """Warn of every class that occurs in no training label, of pixels or of boxes.

    Label files are read until every class has been seen, at most a thousand of them. What is
    rendered, and datasets without annotations, are not looked at.

    Args:
        dataset: Of the training; what it wraps counts too.
    """
    classes = classes_of(dataset)
    leaves = [part for part in walk_datasets(dataset) if not wrapped_datasets(part)]
    parts = [leaf for leaf in leaves if _is_labelled(leaf)]
    if not classes or not parts:
        return
    segments = all(isinstance(part, BaseSegDataset) for part in parts)
    counts = _scan_label_maps(parts, classes) if segments else _scan_boxes(parts, classes)
    seen, read, total, kind, hint = counts
    absent = [name for name, found in zip(classes, seen, strict=True) if not found]
    if absent:
        names = ', '.join(map(repr, absent))
        looked = f'all {total}' if read == total else f'{read} of {total}'
        print_log(
            f'train_dataloader.dataset: no object of the classes {names} in {looked} training '
            f'{kind}{hint}; check metainfo.classes and the annotations',
            'current',
            level=logging.WARNING,
        )


def _is_labelled(dataset: Any) -> bool:
    """Return whether a dataset has label files that its pipeline reads, or boxes."""
    if not hasattr(dataset, 'get_data_info') or not len(dataset):
        return False
    info = dataset.get_data_info(0)
    if isinstance(dataset, BaseSegDataset):
        return bool(info.get('seg_map_path')) and _label_loader(dataset) is not None
    return 'instances' in info


def _scan_label_maps(parts: list, classes: list) -> tuple:
    files = [(part, i) for part in parts for i in range(len(part))]
    loaders = {id(part): _label_loader(part) for part in parts}
    seen, ignored, read = np.zeros(len(classes), bool), False, 0
    order = np.random.default_rng(0).permutation(len(files))[:_LABELS_READ]
    for part, i in (files[k] for k in order):
        info = part.get_data_info(i)
        read += 1
        try:
            loaders[id(part)]._load_seg_map(info)
        except Exception:  # noqa: BLE001  the pipeline names a damaged label when it reads it
            continue
        found = np.bincount(info['gt_seg_map'].ravel(), minlength=256) > 0
        seen |= np.pad(found, (0, max(0, len(classes) - len(found))))[: len(classes)]
        ignored |= bool(found[_IGNORED])
        if seen.all():
            break
    hint = ' (255, which they hold, is ignored: is it meant as a class?)' if ignored else ''
    return seen, read, len(files), 'labels', hint


def _label_loader(dataset: Any) -> Any:
    steps = getattr(dataset.pipeline, 'transforms', [])
    return next((step for step in steps if hasattr(step, '_load_seg_map')), None)


def _scan_boxes(parts: list, classes: list) -> tuple:
    seen, total = np.zeros(len(classes), bool), sum(map(len, parts))
    for part in parts:
        for i in range(len(part)):
            instances = part.get_data_info(i).get('instances') or []
            labels = [x['bbox_label'] for x in instances if not x.get('ignore_flag')]
            seen[[label for label in labels if 0 <= label < len(classes)]] = True
            if seen.all():
                break
    return seen, total, total, 'images', ''
