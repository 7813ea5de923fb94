import re
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.checkpoints.atomic_files import link_atomically
from mmkd.engine.hooks.unfinished_training_hook import UnfinishedTrainingHook
from mmkd.registry import HOOKS

_BEST = re.compile(r'best_.+\.pth')  # as CheckpointHook names it


@HOOKS.register_module()
class BestCheckpointHook(Hook):
    """Keep ``best.pth`` in the work dir, a fixed name for the best checkpoint so far.

    MMEngine names the best checkpoint after its score and iteration, and deletes the old one before
    it writes the new one. ``best.pth`` is a hard link that always exists. It holds weights and
    plain metadata, without the histories of logged scalars, so ``torch.load(weights_only=True)``
    opens it everywhere.

    Until training ends, ``best.pth`` is not final. This hook adds
    :class:`UnfinishedTrainingHook` to the runner, which marks such a work dir.
    """

    # Run after CheckpointHook, which writes the best checkpoint of this validation.
    priority = 'LOWEST'

    def before_run(self, runner: Runner) -> None:
        if not any(isinstance(hook, UnfinishedTrainingHook) for hook in runner.hooks):
            runner.register_hook(UnfinishedTrainingHook())

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        hub = checkpoint.get('message_hub')
        facts = hub.get('runtime_info') if isinstance(hub, dict) else None
        if isinstance(facts, dict):
            _drop_foreign_steps(facts)
            _find_best_again(runner, facts)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if 'optimizer' in checkpoint:  # a checkpoint to resume from
            return
        facts = checkpoint['message_hub']['runtime_info']
        checkpoint['message_hub'] = dict(
            log_scalars={}, runtime_info=_plain(facts), resumed_keys={}
        )

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        best = runner.message_hub.runtime_info.get('best_ckpt')
        if runner.rank == 0 and best is not None and Path(best).is_file():
            link_atomically(best, Path(runner.work_dir) / 'best.pth')


def _drop_foreign_steps(facts: dict) -> None:
    # MMEngine deletes the checkpoints of these numbers in time, and a file can record anything.
    steps = facts.get('keep_ckpt_ids')
    if steps is not None:
        facts['keep_ckpt_ids'] = [n for n in steps if type(n) is int]


def _find_best_again(runner: Runner, facts: dict) -> None:
    # MMEngine deletes the recorded file when there is a better one. The path may belong to
    # another run, if the work dir was moved or copied, and a file can record any path.
    for key in [k for k in facts if isinstance(k, str) and k.startswith('best_ckpt')]:
        own = _own_best(runner, facts[key])
        if own is not None:
            facts[key] = str(own)
            continue
        runner.logger.warning(
            f'the best checkpoint so far, {facts[key]!r}, is not in {runner.work_dir}; '
            'the best one is chosen anew from now on'
        )
        del facts[key]
        facts.pop(key.replace('best_ckpt', 'best_score'), None)


def _own_best(runner: Runner, noted: object) -> Path | None:
    """Return the file of that name in the folders that this training writes to, if it is there."""
    name = Path(noted).name if isinstance(noted, str) else ''
    outside = [Path(h.out_dir) for h in runner.hooks if getattr(h, 'out_dir', None)]
    work_dir = Path(runner.work_dir)  # MMEngine writes into a folder of its name below `out_dir`
    for folder in (work_dir, *outside, *(folder / work_dir.name for folder in outside)):
        path = folder / name
        if _BEST.fullmatch(name) and path.is_file() and not path.is_symlink():
            return path
    return None


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value
