import re

from mmengine.dist import get_world_size
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import LogProcessor, Runner

from mmkd.engine.wrapping import unwrapped
from mmkd.openmmlab.lean import make_lean, use_channels_last
from mmkd.openmmlab.lean_heads import report_accuracy
from mmkd.registry import HOOKS

# The longest name that a head's accuracy can have in the log.
_ACCURACY = 'train/student.decode.acc_seg'


@HOOKS.register_module()
class LeanHeadsHook(Hook):
    """Make MMSegmentation's networks cheaper in training, with the same losses.

    The model, a student alone or a distilled one, gets what is in :mod:`mmkd.openmmlab.lean`.
    Its heads compute ``acc_seg``, which needs the largest logit of every pixel, only in the
    iterations that a ``LoggerHook`` writes down. The values in the log are the same: MMEngine logs
    the accuracy of the last iteration, not a mean. Where a ``LogProcessor`` averages accuracies
    over several iterations, all of them compute it.
    """

    def before_run(self, runner: Runner) -> None:
        make_lean(unwrapped(runner.model))

    def before_train(self, runner: Runner) -> None:
        # Not before the run, where the weights are yet to be drawn; and not with several processes,
        # whose wrapper has laid out the gradients.
        if get_world_size() == 1:
            use_channels_last(unwrapped(runner.model))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        reports = _averages_accuracy(runner.log_processor) or any(
            _logs(hook, runner, batch_idx) for hook in runner.hooks if isinstance(hook, LoggerHook)
        )
        report_accuracy(unwrapped(runner.model), reports)


def _logs(hook: LoggerHook, runner: Runner, batch_idx: int) -> bool:
    """Return whether ``LoggerHook.after_train_iter`` writes this iteration."""
    if hook.every_n_inner_iters(batch_idx, hook.interval):
        return True
    loader = runner.train_dataloader
    return hook.end_of_epoch(loader, batch_idx) and (
        not hook.ignore_last or len(loader) <= hook.interval
    )


def _averages_accuracy(log: LogProcessor) -> bool:
    custom = any('acc_seg' in str(entry.get('data_src')) for entry in log.custom_cfg)
    return custom or re.search(log.mean_pattern, _ACCURACY) is not None
