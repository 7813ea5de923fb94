from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.registry import HOOKS


@HOOKS.register_module()
class BroadcastBuffersHook(Hook):
    """Lets all processes validate the network that the first one saves.

    Each process counts BatchNorm's averages over its own images. Without this hook a score would be
    one of several networks, of which only the first is in the checkpoint. What the first process
    holds is not touched.
    """

    # After EMAHook has put the averaged network in place.
    priority = 'LOWEST'

    def before_val_epoch(self, runner: Runner) -> None:
        for buffer in runner.model.buffers():
            broadcast(buffer)
