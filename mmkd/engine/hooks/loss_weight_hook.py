from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmkd.distillation.distiller import Distiller
from mmkd.engine.wrapping import unwrapped
from mmkd.registry import HOOKS


@HOOKS.register_module()
class LossWeightHook(Hook):
    """Set the weight of every distillation term by its schedule, and log the weights that change.

    The time is the runner's iteration count. It continues on resume and counts every batch under
    gradient accumulation. An epoch is one pass over the training data, for every training loop. The
    weight of term ``encoder`` is logged as ``weight.encoder``.
    """

    priority = 'ABOVE_NORMAL'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, Distiller):
            return
        epoch = runner.iter // batches_of_epoch(runner.train_dataloader, get_world_size())
        for term in model.distill.values():
            term.set_time(runner.iter, epoch)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, Distiller):
            return
        for name, term in model.distill.items():
            if term.weight_moves:
                runner.message_hub.update_scalar(f'train/weight.{name}', term.current_weight)


def batches_of_epoch(loader: DataLoader, processes: int) -> int:
    """Return how many batches a process draws while all of them together draw every image once."""
    batches = len(loader)
    # A loader with a batch sampler of another kind has no sampler of its own.
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if isinstance(sampler, InfiniteSampler):  # its length covers all processes
        batches = -(-batches // processes)
    # With drop_last, fewer images than a batch give 0 batches, but sampling continues.
    return max(1, batches)
