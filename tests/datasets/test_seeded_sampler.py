import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmkd.datasets import SeedAugmentation, SeededIndex, SeededInfiniteSampler


class Draws(Dataset):
    """Yields (index, what a random transform would draw)."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        SeedAugmentation().transform(dict(sample_idx=index))
        return int(index), np.random.rand(), torch.rand(()).item()


def draws(count, workers=0, skip=0, seed=1):
    sampler = SeededInfiniteSampler(Draws(), seed=seed)
    sampler.skip(skip)
    loader = DataLoader(Draws(), batch_size=1, sampler=sampler, num_workers=workers)
    return [tuple(v.item() for v in batch) for batch in islice(loader, count)]


def test_every_pass_is_a_permutation():
    indices = [int(i) for i in islice(SeededInfiniteSampler(Draws(), seed=3), 15)]
    passes = [indices[i : i + 5] for i in (0, 5, 10)]
    assert all(sorted(p) == [0, 1, 2, 3, 4] for p in passes)
    assert len(set(map(tuple, passes))) > 1


def test_without_shuffle_the_order_is_the_data_sets():
    sampler = SeededInfiniteSampler(Draws(), shuffle=False)
    assert [int(i) for i in islice(sampler, 7)] == [0, 1, 2, 3, 4, 0, 1]


def test_draws_do_not_depend_on_workers():
    assert draws(12) == draws(12, workers=2) == draws(12, workers=3)


@pytest.mark.parametrize('skip', [1, 5, 7])
def test_skipping_continues_the_stream(skip):
    assert draws(6, skip=skip) == draws(6 + skip)[skip:]


def test_two_draws_of_one_sample_differ():
    by_index = {}
    for index, a, b in draws(20):
        by_index.setdefault(index, []).append((a, b))
    assert all(len(set(seen)) == len(seen) == 4 for seen in by_index.values())


def test_seeds_differ():
    assert draws(5, seed=1) != draws(5, seed=2)


@pytest.mark.parametrize('skip', [0, 2])  # draws of each process
def test_processes_take_turns(skip):
    alone = list(islice(SeededInfiniteSampler(Draws(), seed=1), 3 * skip, 3 * skip + 12))
    shares = []
    for rank in range(3):
        sampler = SeededInfiniteSampler(Draws(), seed=1)
        sampler.rank, sampler.world_size = rank, 3
        sampler.skip(skip)
        shares.append(list(islice(sampler, 4)))
    together = [i for turn in zip(*shares, strict=True) for i in turn]
    assert [(int(i), i.seed) for i in together] == [(int(i), i.seed) for i in alone]
    assert [i.draw for i in together] == list(range(3 * skip, 3 * skip + 12))


def test_index_survives_pickling():
    copy = pickle.loads(pickle.dumps(SeededIndex(4, 9, 23)))
    assert copy == 4 and copy.seed == 9 and copy.draw == 23


def test_plain_indices_seed_nothing():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    SeedAugmentation().transform(dict(sample_idx=3))
    assert (np.random.get_state()[1] == before).all()
