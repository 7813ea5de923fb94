"""Data sets and the seeding of their augmentation."""

from mmkd.datasets.camvid import CamVidDataset
from mmkd.datasets.seed_augmentation import SeedAugmentation
from mmkd.datasets.seeded_sampler import SeededIndex, SeededInfiniteSampler

__all__ = ['CamVidDataset', 'SeedAugmentation', 'SeededIndex', 'SeededInfiniteSampler']
