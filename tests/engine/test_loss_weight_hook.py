import pytest
from mmdet.datasets import AspectRatioBatchSampler
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader

from mmkd.datasets.seeded_sampler import SeededInfiniteSampler
from mmkd.engine.hooks.loss_weight_hook import batches_of_epoch


class OfFour:
    """A sampler as the second of four processes has it."""

    def __new__(cls, sampler_type, data):
        sampler = sampler_type(data)
        sampler.rank, sampler.world_size = 1, 4
        if sampler_type is DefaultSampler:
            sampler.num_samples = len(data) // 4
        return sampler


@pytest.mark.parametrize('sampler', [InfiniteSampler, SeededInfiniteSampler, DefaultSampler])
def test_batches_of_epoch_of_four_processes_is_one_pass(sampler):
    data = range(1000)
    loader = DataLoader(data, batch_size=5, sampler=OfFour(sampler, data))
    assert batches_of_epoch(loader, 4) == 50


@pytest.mark.parametrize('sampler', [InfiniteSampler, SeededInfiniteSampler, DefaultSampler])
def test_batches_of_epoch_of_a_batch_sampler_is_one_pass(sampler):
    data = range(1000)
    batches = AspectRatioBatchSampler(OfFour(sampler, data), batch_size=5)
    assert batches_of_epoch(DataLoader(data, batch_sampler=batches), 4) == 50


@pytest.mark.parametrize('sampler', [InfiniteSampler, SeededInfiniteSampler, DefaultSampler])
def test_batches_of_epoch_of_one_process_is_one_pass(sampler):
    data = range(12)
    assert batches_of_epoch(DataLoader(data, batch_size=5, sampler=sampler(data)), 1) == 3


def test_batches_of_epoch_of_fewer_images_than_a_batch_is_one():
    data = range(3)
    loader = DataLoader(data, batch_size=5, sampler=InfiniteSampler(data), drop_last=True)
    assert batches_of_epoch(loader, 1) == 1
