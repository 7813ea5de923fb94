from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.registry import HOOKS


@HOOKS.register_module()
class SyncBuffersFromRank0Hook(Hook):
    """Copy the buffers of the first process to all others before validation.

    Each process computes BatchNorm averages over its own images. Without this hook, a score would
    mix several networks, but the checkpoint holds only the first one. The first process is not
    changed.
    """

    # Run after EMAHook, which swaps in the averaged network.
    priority = 'LOWEST'

    def before_val_epoch(self, runner: Runner) -> None:
        for buffer in runner.model.buffers():
            broadcast(buffer)
