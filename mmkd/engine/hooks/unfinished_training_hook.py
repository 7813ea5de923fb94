from pathlib import Path

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmkd.checkpoints.atomic_files import remove_partial_checkpoints
from mmkd.registry import HOOKS


@HOOKS.register_module()
class UnfinishedTrainingHook(Hook):
    """Mark a work dir until its training ends, and complete what an interruption left.

    The mark is a file ``training_unfinished``. :class:`BestCheckpointHook` adds this hook.

    MMEngine writes the checkpoint to resume from before it validates, and does not validate on
    resume. If a training was interrupted in between, those weights would never get a score. This
    hook validates them on resume. It also removes checkpoints that were not written to their end.
    """

    # Run after the hooks that prepare training, because it can start a validation.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        mark = unfinished_mark(runner.work_dir)
        was_interrupted = [mark.exists()]
        broadcast_object_list(was_interrupted)
        if runner.rank == 0:
            remove_partial_checkpoints(runner.work_dir)
            mark.touch()
        if was_interrupted[0] and _validation_is_due(runner):
            runner.val_loop.run()

    def after_train(self, runner: Runner) -> None:
        if runner.rank == 0:
            unfinished_mark(runner.work_dir).unlink(missing_ok=True)


def unfinished_mark(work_dir: str | Path) -> Path:
    """Return the file that exists in a work dir from the start of training to its end."""
    return Path(work_dir) / 'training_unfinished'


def _validation_is_due(runner: Runner) -> bool:
    """Return whether the training loop validates at its current step."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    step, end = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    if runner.val_loop is None or step < max(loop.val_begin, 1):
        return False
    # As MMEngine does between the step and its validation: dynamic_intervals change the interval.
    loop._decide_current_val_interval()
    return step % loop.val_interval == 0 or step == end
