import copy
import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from mmdet.datasets import AspectRatioBatchSampler
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import DataLoader, Dataset

from mmkd.datasets import SeededIndex, SeededInfiniteSampler, SeedTransforms
from mmkd.datasets.seeded_sampler import seed_of_view
from mmkd.errors import UserError


class Draws(Dataset):
    """Yields (index, what a random transform would draw)."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        SeedTransforms().transform(dict(sample_idx=index))
        return int(index), np.random.rand(), torch.rand(()).item()


def draws(count, workers=0, skip=0, seed=1):
    sampler = SeededInfiniteSampler(Draws(), seed=seed)
    sampler.skip(skip)
    loader = DataLoader(Draws(), batch_size=1, sampler=sampler, num_workers=workers)
    return [tuple(v.item() for v in batch) for batch in islice(loader, count)]


def test_seeded_sampler_every_pass_is_a_permutation():
    indices = [int(i) for i in islice(SeededInfiniteSampler(Draws(), seed=3), 15)]
    passes = [indices[i : i + 5] for i in (0, 5, 10)]
    assert all(sorted(p) == [0, 1, 2, 3, 4] for p in passes)
    assert len(set(map(tuple, passes))) > 1


def test_seeded_sampler_without_shuffle_keeps_order():
    sampler = SeededInfiniteSampler(Draws(), shuffle=False)
    assert [int(i) for i in islice(sampler, 7)] == [0, 1, 2, 3, 4, 0, 1]


def test_seeded_sampler_draws_are_independent_of_workers():
    assert draws(12) == draws(12, workers=2) == draws(12, workers=3)


@pytest.mark.parametrize('skip', [1, 5, 7])
def test_seeded_sampler_skip_continues_the_stream(skip):
    assert draws(6, skip=skip) == draws(6 + skip)[skip:]


def test_seeded_sampler_draws_of_one_sample_differ():
    by_index = {}
    for index, a, b in draws(20):
        by_index.setdefault(index, []).append((a, b))
    assert all(len(set(seen)) == len(seen) == 4 for seen in by_index.values())


def test_seeded_sampler_other_seed_differs():
    assert draws(5, seed=1) != draws(5, seed=2)


@pytest.mark.parametrize('skip', [0, 2])  # draws of each process
def test_seeded_sampler_processes_take_turns(skip):
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


def test_seeded_sampler_under_mmdet_batch_sampler_groups_images_by_aspect_ratio():
    """Most of MMDetection's configs have this batch sampler."""

    class Sized(Draws):
        def get_data_info(self, index):
            return dict(width=3 if index < 3 else 1, height=2)

    batches = AspectRatioBatchSampler(SeededInfiniteSampler(Sized(), seed=1), batch_size=2)
    drawn = list(islice(batches, 10))
    assert all((a < 3) == (b < 3) for a, b in drawn)
    assert all(isinstance(index, SeededIndex) for batch in drawn for index in batch)


def test_seeded_sampler_views_recur_and_are_those_of_every_seed():
    def views(seed):
        found = {}
        for i in islice(SeededInfiniteSampler(Draws(), seed=seed, views=3), 400):
            found.setdefault(int(i), set()).add(i.seed)
        return found

    seen = views(1)
    assert seen == views(2) == {i: {seed_of_view(i, view) for view in range(3)} for i in range(5)}
    assert len(set.union(*seen.values())) == 15
    order = [
        [int(i) for i in islice(SeededInfiniteSampler(Draws(), views=v), 9)] for v in (3, None)
    ]
    assert order[0] == order[1]


@pytest.mark.parametrize('views', [0, -1, 2.0, True, '3'])
def test_seeded_sampler_rejects_bad_views(views):
    with pytest.raises(UserError, match=f'sampler.views={views!r}: expected an integer >= 1'):
        SeededInfiniteSampler(Draws(), views=views)


def test_seeded_index_survives_pickling():
    copy = pickle.loads(pickle.dumps(SeededIndex(4, 9, 23)))
    assert copy == 4 and copy.seed == 9 and copy.draw == 23


def test_seed_transforms_plain_index_leaves_rng():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    SeedTransforms().transform(dict(sample_idx=3))
    assert (np.random.get_state()[1] == before).all()


class CountedDataset(BaseDataset):
    """Four samples of two classes, two and one of each."""

    METAINFO = dict(classes=('a', 'b'))

    def load_data_list(self):
        return [dict(label=label) for label in (0, 0, 0, 1)]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)['label']]


WRAPPERS = {
    'repeat': lambda data: RepeatDataset(data, times=3),
    'balanced': lambda data: ClassBalancedDataset(data, oversample_thr=0.9),
    'concatenated': lambda data: ConcatDataset([data, copy.deepcopy(data)]),
}


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
def test_carry_draw_wrapper_passes_the_draw_on(wrap):
    data = wrap(CountedDataset(pipeline=[]))
    draws = islice(SeededInfiniteSampler(data), 12)
    for draw in draws:
        index = data[draw]['sample_idx']
        assert (index.seed, index.draw) == (draw.seed, draw.draw)


def test_seeded_sampler_wrapper_that_loses_the_draw_is_rejected():
    data = torch.utils.data.Subset(CountedDataset(pipeline=[]), [2, 0, 1])
    with pytest.raises(UserError, match='dataset.type=Subset: expected a wrapper that passes'):
        SeededInfiniteSampler(data)
    assert isinstance(data.dataset, CountedDataset)
    nested = RepeatDataset(CountedDataset(pipeline=[]), times=2)
    nested.dataset = data
    with pytest.raises(UserError, match='type=Subset'):
        SeededInfiniteSampler(nested)
