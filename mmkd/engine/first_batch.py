"""Read a batch of a data loader and leave no trace in it."""

import copy

from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader, Dataset

from mmkd.datasets.wrapped_datasets import walk_datasets
from mmkd.distillation.rng import preserve_rng_state
from mmkd.errors import UserError

# A dataset's annotations. It only reads them, and they can be gigabytes, so they are not copied.
_ANNOTATIONS = ('data_list', 'data_bytes', 'data_address')


def load_first_batch(
    loader: DataLoader, count: int = 2, key: str = 'train_dataloader.dataset'
) -> object:
    """Return the first images of a loader's dataset, as the loader would collate them.

    Their transforms run in this process, in a copy, because some remember images (mosaic's cache).

    Args:
        loader: The data loader; its sampler is not asked, and no worker starts.
        count: How many images, unless the loader's batches or its dataset have fewer.
        key: The dataset's key in the config, for messages.

    Raises:
        UserError: The dataset's pipeline loads an image and does not pack it.
    """
    dataset = loader.dataset
    count = min(count, loader.batch_size or count, len(dataset))
    with preserve_rng_state():
        copied = copy.deepcopy(dataset, {id(part): part for part in _annotations(dataset)})
        samples = [copied[index] for index in range(count)]
        # Before they are collated: with images of several sizes that fails and names no transform.
        if any(isinstance(s, dict) and 'img' in s and 'inputs' not in s for s in samples):
            raise UserError(
                f'{key}.pipeline: expected PackSegInputs, or PackDetInputs for a detector, at its '
                'end; add it'
            )
        return loader.collate_fn(samples)


def _annotations(dataset: Dataset) -> list[object]:
    """Return the annotations of a dataset, and of those that it wraps."""
    parts = [part for part in walk_datasets(dataset) if isinstance(part, BaseDataset)]
    return [getattr(p, name) for p in parts for name in _ANNOTATIONS if hasattr(p, name)]
