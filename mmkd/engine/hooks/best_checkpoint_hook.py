from pathlib import Path

import numpy as np
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmkd.engine.files import link_atomically, remove_partial_checkpoints
from mmkd.registry import HOOKS


@HOOKS.register_module()
class BestCheckpointHook(Hook):
    """Keeps ``best.pth`` in the work dir: a fixed name for the best checkpoint so far.

    MMEngine names the best checkpoint after its score and iteration and deletes the old one
    before it writes the new one; ``best.pth`` is a hard link that always exists. It holds weights
    and plain facts, without the histories of logged scalars, so that
    ``torch.load(weights_only=True)`` opens it anywhere. Until training has ended, a file
    ``training_unfinished`` stands beside it.

    MMEngine writes the checkpoint to resume from before it validates, and does not validate on
    resume. A training that was cut short there would never score those weights, so they are
    validated when it goes on.
    """

    # After CheckpointHook has written the best checkpoint of this validation.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        mark = unfinished_mark(runner.work_dir)
        was_cut_short = [mark.exists()]
        broadcast_object_list(was_cut_short)
        if runner.rank == 0:
            remove_partial_checkpoints(runner.work_dir)
            mark.touch()
        if was_cut_short[0] and _validation_is_due(runner):
            runner.val_loop.run()

    def after_train(self, runner: Runner) -> None:
        if runner.rank == 0:
            unfinished_mark(runner.work_dir).unlink(missing_ok=True)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # Where the work dir was moved or copied from, another run may lie by now.
        hub = checkpoint.get('message_hub')
        facts = hub.get('runtime_info', {}) if isinstance(hub, dict) else {}
        own = Path(runner.work_dir) / Path(facts.get('best_ckpt') or '').name
        if own.is_file():
            facts['best_ckpt'] = str(own)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if 'optimizer' in checkpoint:  # one to resume from
            return
        facts = checkpoint['message_hub']['runtime_info']
        checkpoint['message_hub'] = dict(
            log_scalars={}, runtime_info=_plain(facts), resumed_keys={}
        )

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        best = runner.message_hub.runtime_info.get('best_ckpt')
        if runner.rank == 0 and best is not None and Path(best).is_file():
            link_atomically(best, Path(runner.work_dir) / 'best.pth')


def unfinished_mark(work_dir: str | Path) -> Path:
    """The file that stands in a work dir from the start of training to its end."""
    return Path(work_dir) / 'training_unfinished'


def _validation_is_due(runner: Runner) -> bool:
    """Whether the training loop validates at the step where it stands, which it does on arrival."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    step, end = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    if runner.val_loop is None or step < max(loop.val_begin, 1):
        return False
    return step % loop.val_interval == 0 or step == end


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value
