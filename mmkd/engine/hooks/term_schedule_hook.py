from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmkd.distiller import Distiller
from mmkd.engine.wrapping import unwrapped
from mmkd.registry import HOOKS


@HOOKS.register_module()
class TermScheduleHook(Hook):
    """Tells every distillation term the time, and logs the weights that move.

    The time is the runner's own count of iterations, which comes back on resume and counts
    every batch under gradient accumulation; an epoch is one pass over the training data,
    whichever loop trains. The weight of term ``encoder`` is logged as ``weight.encoder``.
    """

    priority = 'ABOVE_NORMAL'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, Distiller):
            return
        epoch = runner.iter // batches_of_epoch(runner.train_dataloader, get_world_size())
        for name, term in model.distill.items():
            term.set_time(epoch if term.by_epoch else runner.iter)
            if term.is_scheduled:
                runner.message_hub.update_scalar(f'train/weight.{name}', term.current_weight)


def batches_of_epoch(loader: DataLoader, processes: int) -> int:
    """How many batches a process draws while all of them together draw every image once."""
    batches = len(loader)
    if isinstance(loader.sampler, InfiniteSampler):  # its length is that of all processes
        batches = -(-batches // processes)
    # By drop_last fewer images than a batch are no batch; sampling goes on all the same.
    return max(1, batches)
