import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmkd.datasets.seeded_sampler import SeededIndex
from mmkd.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SeedAugmentation(BaseTransform):
    """First transform of a training pipeline: seeds the random ones that follow.

    The seed comes with the index from ``SeededInfiniteSampler``, so an augmentation depends on
    its draw and not on the worker's past. With any other sampler it changes nothing.
    """

    def transform(self, results: dict) -> dict:
        index = results.get('sample_idx')
        if isinstance(index, SeededIndex):
            random.seed(index.seed)
            np.random.seed(index.seed)
            torch.manual_seed(index.seed)
        return results
