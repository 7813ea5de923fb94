from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.engine.files import link_atomically
from mmkd.registry import HOOKS


@HOOKS.register_module()
class BestCheckpointHook(Hook):
    """Keeps ``best.pth`` in the work dir: a fixed name for the best checkpoint so far.

    MMEngine names the best checkpoint after its score and iteration and deletes the old one
    before it writes the new one; ``best.pth`` is a hard link that always exists.
    """

    # After CheckpointHook has written the best checkpoint of this validation.
    priority = 'LOWEST'

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        best = runner.message_hub.runtime_info.get('best_ckpt')
        if runner.rank == 0 and best is not None and Path(best).is_file():
            link_atomically(best, Path(runner.work_dir) / 'best.pth')
