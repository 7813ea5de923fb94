"""Data sets and the seeding of their augmentation."""

from mmkd.datasets.camvid import CamVidDataset
from mmkd.datasets.folder_dataset import FolderDataset
from mmkd.datasets.load_labels import LoadLabels
from mmkd.datasets.load_street import LoadStreet
from mmkd.datasets.scheduled_mix_dataset import ScheduledMixDataset
from mmkd.datasets.seed_augmentation import SeedAugmentation
from mmkd.datasets.seeded_sampler import SeededIndex, SeededInfiniteSampler
from mmkd.datasets.street import render_street
from mmkd.datasets.streets import StreetScenes
from mmkd.datasets.streets_detection import StreetScenesDetection
from mmkd.datasets.voc_layout import VOCLayoutDataset

__all__ = [
    'CamVidDataset',
    'FolderDataset',
    'LoadLabels',
    'LoadStreet',
    'ScheduledMixDataset',
    'SeedAugmentation',
    'SeededIndex',
    'SeededInfiniteSampler',
    'StreetScenes',
    'StreetScenesDetection',
    'VOCLayoutDataset',
    'render_street',
]
