import atexit
import logging
import sys

from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from mmkd.registry import HOOKS


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show a progress bar on the terminal instead of a line every few iterations.

    It shows iterations, remaining time, the current loss with the part of each distillation term,
    and the best score so far. Other messages, such as validations, scroll above it; the log file
    keeps all of them. ``tools/train.py`` adds it if the output is a terminal.
    """

    # Run after all hooks that log.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        if runner.rank != 0:
            self.bar = None
            return
        self.bar = Progress(
            TextColumn('training'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn('{task.fields[facts]}'),
        )
        self.task = self.bar.add_task(
            'training', total=runner.max_iters, completed=runner.iter, facts=''
        )
        self.bar.start()
        # Restore the terminal after an error too.
        atexit.register(self.bar.stop)
        self.handlers = [h for h in runner.logger.handlers if type(h) is logging.StreamHandler]
        for handler in self.handlers:
            handler.setStream(sys.stdout)  # the bar has replaced it, so lines go above the bar
            handler.addFilter(_is_no_iteration)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=runner.iter + 1, facts=_facts(runner, outputs))

    def after_train(self, runner: Runner) -> None:
        if self.bar is None:
            return
        self.bar.stop()
        atexit.unregister(self.bar.stop)
        for handler in self.handlers:
            handler.setStream(sys.stdout)
            handler.removeFilter(_is_no_iteration)


def _facts(runner: Runner, outputs: dict | None) -> str:
    shown = {
        name.removeprefix('distill.'): f'{float(value):.3g}'
        for name, value in (outputs or {}).items()
        if name == 'loss' or name.startswith('distill.')
    }
    best = runner.message_hub.runtime_info.get('best_score')
    if best is not None:
        shown['best'] = f'{float(best):.4g}'
    return ', '.join(f'{name} {value}' for name, value in shown.items())


def _is_no_iteration(record: logging.LogRecord) -> bool:
    return '(train)' not in record.getMessage()
