import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.registry import HOOKS


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seed PyTorch at every iteration from (seed, rank, iteration).

    Dropout and drop-path then depend only on the iteration. A resumed run draws the same numbers as
    an uninterrupted one, on every rank.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        sequence = np.random.SeedSequence([runner.seed, runner.rank, runner.iter])
        torch.manual_seed(int(sequence.generate_state(1)[0]))
