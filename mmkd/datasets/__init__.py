"""Datasets, and the seeding of their augmentation."""

from mmkd.datasets.camvid import CamVidDataset
from mmkd.datasets.checked_voc_dataset import CheckedVOCDataset
from mmkd.datasets.digits import Digits
from mmkd.datasets.folder_dataset import FolderDataset
from mmkd.datasets.image_folder import ImageFolder
from mmkd.datasets.load_checked_annotations import LoadCheckedAnnotations
from mmkd.datasets.scheduled_mix_dataset import ScheduledMixDataset
from mmkd.datasets.seed_transforms import SeedTransforms
from mmkd.datasets.seeded_sampler import SeededIndex, SeededInfiniteSampler, carry_draw
from mmkd.datasets.street_scenes.render_street import RenderStreet
from mmkd.datasets.street_scenes.renderer import render_street
from mmkd.datasets.street_scenes.street_scenes import StreetScenes
from mmkd.datasets.street_scenes.street_scenes_det import StreetScenesDet

__all__ = [
    'CamVidDataset',
    'Digits',
    'FolderDataset',
    'ImageFolder',
    'LoadCheckedAnnotations',
    'RenderStreet',
    'ScheduledMixDataset',
    'SeedTransforms',
    'SeededIndex',
    'SeededInfiniteSampler',
    'StreetScenes',
    'StreetScenesDet',
    'CheckedVOCDataset',
    'carry_draw',
    'render_street',
]
