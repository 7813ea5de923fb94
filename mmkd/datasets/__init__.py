"""Data sets and the seeding of their augmentation."""

from mmkd.datasets.camvid import CamVidDataset
from mmkd.datasets.load_street import LoadStreet
from mmkd.datasets.seed_augmentation import SeedAugmentation
from mmkd.datasets.seeded_sampler import SeededIndex, SeededInfiniteSampler
from mmkd.datasets.street import render_street
from mmkd.datasets.streets import StreetScenes

__all__ = [
    'CamVidDataset',
    'LoadStreet',
    'SeedAugmentation',
    'SeededIndex',
    'SeededInfiniteSampler',
    'StreetScenes',
    'render_street',
]
