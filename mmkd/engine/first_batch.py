"""Read a batch of a data loader and leave no trace in it."""

import copy

from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader, Dataset

from mmkd.datasets.wrapped_datasets import walk_datasets
from mmkd.distillation.rng import preserve_rng_state

# A dataset's annotations. It only reads them, and they can be gigabytes, so they are not copied.
_ANNOTATIONS = ('data_list', 'data_bytes', 'data_address')


def load_first_batch(loader: DataLoader, count: int = 2) -> object:
    """Return the first images of a loader's dataset, as the loader would collate them.

    Their transforms run in this process, in a copy, because some remember images (mosaic's cache).

    Args:
        loader: The data loader; its sampler is not asked, and no worker starts.
        count: How many images, unless the loader's batches or its dataset have fewer.
    """
    dataset = loader.dataset
    count = min(count, loader.batch_size or count, len(dataset))
    with preserve_rng_state():
        copied = copy.deepcopy(dataset, {id(part): part for part in _annotations(dataset)})
        return loader.collate_fn([copied[index] for index in range(count)])


def _annotations(dataset: Dataset) -> list[object]:
    """Return the annotations of a dataset, and of those that it wraps."""
    parts = [part for part in walk_datasets(dataset) if isinstance(part, BaseDataset)]
    return [getattr(p, name) for p in parts for name in _ANNOTATIONS if hasattr(p, name)]
