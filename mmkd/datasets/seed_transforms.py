import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmkd.datasets.seeded_sampler import SeededIndex
from mmkd.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SeedTransforms(BaseTransform):
    """Seed the random transforms of a training pipeline; put it first.

    The seed comes with the index from ``SeededInfiniteSampler``. An augmentation then depends on
    the number of its sample, not on what the worker did before. With other samplers it does
    nothing.
    """

    def transform(self, results: dict) -> dict:
        index = results.get('sample_idx')
        if isinstance(index, SeededIndex):
            random.seed(index.seed)
            np.random.seed(index.seed)
            torch.manual_seed(index.seed)
        return results
