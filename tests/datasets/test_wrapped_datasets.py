import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from mmkd.datasets.wrapped_datasets import walk_datasets, wrapped_datasets


def test_walk_datasets_yields_every_depth_once():
    one, other = TensorDataset(torch.ones(1)), TensorDataset(torch.ones(1))
    part = Subset(other, [])
    both = ConcatDataset([one, part])
    whole = Subset(both, [])
    assert list(walk_datasets(whole)) == [whole, both, one, part, other]
    assert wrapped_datasets(both) == [one, part]
    assert wrapped_datasets(one) == []
