import itertools
from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmkd.datasets.wrapped_datasets import walk_datasets
from mmkd.errors import UserError, check_integer
from mmkd.registry import DATA_SAMPLERS


class SeededIndex(int):
    """A sample's index that also carries the number and the seed of this draw."""

    seed: int
    draw: int

    def __new__(cls, index: int, seed: int, draw: int) -> 'SeededIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        self.draw = draw
        return self

    def __sub__(self, other: int) -> 'SeededIndex':
        # A concatenation of datasets subtracts to find the index within one of them.
        return SeededIndex(int(self) - other, self.seed, self.draw)

    def __mod__(self, other: int) -> 'SeededIndex':
        # A repetition of a dataset takes the remainder.
        return SeededIndex(int(self) % other, self.seed, self.draw)

    def __reduce__(self) -> tuple:
        return SeededIndex, (int(self), self.seed, self.draw)


def seed_of_view(index: int, view: int) -> int:
    """Return the seed of one of the fixed augmentations of the sample ``index``."""
    return int(np.random.SeedSequence([int(index), view]).generate_state(1)[0])


def carry_draw(index: int, found: int) -> int:
    """Return ``found``, the index that a wrapper looked up for ``index``, with the same draw."""
    if isinstance(index, SeededIndex) and not isinstance(found, SeededIndex):
        return SeededIndex(found, index.seed, index.draw)
    return found


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(Sampler):
    """Shuffle a dataset endlessly and give every draw its own seed.

    Draw k of a run is the same sample with the same augmentation (see ``SeedTransforms``) for any
    number of data workers and processes, and after a resume. The processes take draws in turn.

    Args:
        dataset: The dataset to sample.
        seed: First part of every draw's seed.
        shuffle: Whether every pass has a new permutation, instead of the dataset's order.
        views: How many augmentations each sample has; every draw takes one of them. They are the
            same for every ``seed``. If omitted, every draw has an augmentation of its own.

    Raises:
        UserError: ``views`` is not an integer above 0; or the dataset is a wrapper that looks its
            samples up by plain numbers, so that the seed of a draw does not reach them.
    """

    def __init__(
        self, dataset: Sized, seed: int = 0, shuffle: bool = True, views: int | None = None
    ) -> None:
        if views is not None:
            check_integer('sampler.views', views, least=1)
        for part in walk_datasets(dataset):
            _check_passes_draws(part)
        self.dataset = dataset  # MMDetection's AspectRatioBatchSampler asks it for image sizes
        self.views = views
        self.size = len(dataset)
        self.seed = seed
        self.shuffle = shuffle
        self.rank, self.world_size = get_dist_info()
        self._start = 0

    def __iter__(self) -> Iterator[SeededIndex]:
        first = self.rank + self._start * self.world_size
        order, order_of = None, None
        for draw in itertools.count(first, self.world_size):
            epoch, position = divmod(draw, self.size)
            if epoch != order_of:
                rng = np.random.default_rng([self.seed, epoch])
                order = rng.permutation(self.size) if self.shuffle else np.arange(self.size)
                order_of = epoch
            index = order[position]
            seed = int(np.random.SeedSequence([self.seed, epoch, position]).generate_state(1)[0])
            if self.views is not None:
                seed = seed_of_view(index, seed % self.views)
            yield SeededIndex(index, seed, draw)

    def __len__(self) -> int:
        """Return the number of draws of this process in one pass."""
        return -(-self.size // self.world_size)

    def skip(self, count: int) -> None:
        """Start the next iteration ``count`` draws (of this process) later."""
        self._start = count

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: passes follow each other within one iteration."""


class _Asked(Exception):  # noqa: N818  (it reports no error)
    """Report which index a wrapper asks its dataset for."""


class _AskedDataset:
    """Stands in for the dataset inside of a wrapper, which is asked for one sample."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__['_dataset'], name)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> None:
        raise _Asked(index)


def _check_passes_draws(dataset: Any) -> None:
    inner = getattr(dataset, 'dataset', None)
    if inner is None or not len(dataset):
        return
    dataset.dataset = _AskedDataset(inner)
    try:
        dataset[SeededIndex(0, 0, 0)]
    except _Asked as asked:
        if not isinstance(asked.args[0], SeededIndex):
            raise UserError(
                f'train_dataloader.dataset.type={type(dataset).__name__}: expected a wrapper that '
                "passes on the sampler's index, so that a resumed run is exact; wrap what it "
                'looks up in mmkd.datasets.carry_draw(index, found), or use '
                "sampler=dict(type='InfiniteSampler')"
            ) from None
    except Exception:  # noqa: BLE001  a wrapper that cannot be asked alone is tried in training
        pass
    finally:
        dataset.dataset = inner
