"""Check the dataloaders of a config."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from mmkd.config.checks.loops import trains_by_epoch
from mmkd.config.types import type_name
from mmkd.errors import UserError, check_path


def check_dataloaders(config: Config, *loaders: str) -> None:
    """Check the batch sizes of dataloaders, and that their datasets exist.

    Raises:
        UserError: A ``batch_size`` is not an integer >= 1, a ``data_root`` does not exist, no
            pipeline packs images, or a loop that ends with its data has a sampler that never
            ends.
    """
    for key in loaders:
        loader = config.get(key) or {}
        _check_ends(config, key, loader)
        pipelines = _pipelines(loader.get('dataset'))
        if pipelines and not any(pipelines):
            raise UserError(
                f'{key}.dataset.pipeline=[]: expected transforms that load and pack an image; '
                'inherit a pipeline, or end yours with PackSegInputs or PackDetInputs'
            )
        size = loader.get('batch_size', 1)
        if not isinstance(size, int) or size < 1:
            raise UserError(f'{key}.batch_size={size!r}: expected an integer >= 1')
        for name, root in _data_roots(loader.get('dataset'), f'{key}.dataset'):
            check_path(name, root)
            if '://' not in root and not Path(root).is_dir():
                raise UserError(
                    f'{name}={root} does not exist: expected the dataset there; put or link it '
                    'there, or set another data_root'
                )


def _check_ends(config: Config, key: str, loader: Mapping) -> None:
    ends = key == 'train_dataloader' and not trains_by_epoch(config)
    sampler = type_name((loader.get('sampler') or loader.get('batch_sampler') or {}).get('type'))
    if not ends and sampler.endswith('InfiniteSampler'):
        loops = 'IterBasedTrainLoop with max_iters, or ' if key == 'train_dataloader' else ''
        raise UserError(
            f'{key}.sampler.type={sampler}: expected {loops}a sampler that ends, or the loop goes '
            f"through the data for ever; set {key}.sampler=dict(type='DefaultSampler')"
        )


def settle_worker_options(config: Config) -> None:
    """Drop what only data workers take from dataloaders with ``num_workers=0``."""
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(key) or {}
        if loader.get('num_workers') == 0:
            for option in ('persistent_workers', 'prefetch_factor', 'timeout'):
                loader.pop(option, None)


def _pipelines(dataset: Mapping | None) -> list[list]:
    """Return the pipelines of a dataset and of those that it wraps, as far as they are stated."""
    if not isinstance(dataset, Mapping):
        return []
    own = [dataset['pipeline']] if dataset.get('pipeline') is not None else []
    parts = [dataset.get('dataset'), *(dataset.get('datasets') or [])]
    return own + [pipeline for part in parts for pipeline in _pipelines(part)]


def _data_roots(dataset: dict | None, key: str) -> list[tuple[str, str]]:
    """Return the ``data_root`` of a dataset, and of those that it wraps, by config key."""
    if not dataset:
        return []
    own = [(f'{key}.data_root', dataset['data_root'])] if dataset.get('data_root') else []
    wrapped = [(f'{key}.dataset', dataset.get('dataset'))]
    wrapped += [(f'{key}.datasets.{i}', d) for i, d in enumerate(dataset.get('datasets') or [])]
    return own + [found for name, inner in wrapped for found in _data_roots(inner, name)]
