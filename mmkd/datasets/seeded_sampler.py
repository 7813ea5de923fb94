import itertools
from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmkd.registry import DATA_SAMPLERS


class SeededIndex(int):
    """A sample's index that also carries the number and the seed of this draw of it."""

    seed: int
    draw: int

    def __new__(cls, index: int, seed: int, draw: int) -> 'SeededIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        self.draw = draw
        return self

    def __sub__(self, other: int) -> 'SeededIndex':
        # How a concatenation of data sets finds the index within one of them.
        return SeededIndex(int(self) - other, self.seed, self.draw)

    def __reduce__(self) -> tuple:
        return SeededIndex, (int(self), self.seed, self.draw)


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(Sampler):
    """An endless shuffle in which every draw knows its own seed.

    Draw k of a run is the same sample with the same augmentation (see ``SeedAugmentation``)
    whatever the number of data workers or processes, and whether the run was interrupted.
    The processes take draws in turn.

    Args:
        dataset: what is sampled.
        seed: first part of every draw's seed.
        shuffle: a new permutation every pass, or the data set's own order.
    """

    def __init__(self, dataset: Sized, seed: int = 0, shuffle: bool = True) -> None:
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
            seed = np.random.SeedSequence([self.seed, epoch, position]).generate_state(1)[0]
            yield SeededIndex(order[position], int(seed), draw)

    def __len__(self) -> int:
        """This process's draws in one pass."""
        return -(-self.size // self.world_size)

    def skip(self, count: int) -> None:
        """Start the next iteration ``count`` draws (of this process) further on."""
        self._start = count

    def set_epoch(self, epoch: int) -> None:
        """Nothing to do: passes follow each other within one iteration."""
