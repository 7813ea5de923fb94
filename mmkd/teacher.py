"""The teacher: built from its own config, frozen, read up to its last tap, never saved."""

from collections.abc import Collection, Mapping, Sequence

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from mmkd.checkpoint import load_checkpoint_file, load_weights
from mmkd.configs import load_config, model_config
from mmkd.errors import UserError
from mmkd.ops.gradient import input_gradient
from mmkd.preprocessing import TeacherInputs
from mmkd.registry import MODELS
from mmkd.taps import INPUT_GRADIENT, Recording, Tap, record


class Teacher:
    """A trained network that is only read.

    It is no ``nn.Module``: nothing that walks the Distiller's modules, to save, to optimise,
    to broadcast, to average or to set a training mode, can find it.

    Args:
        config: path or ``library::path`` of the teacher's own config.
        checkpoint: file or URL of its weights, which must cover the whole network.
        student_preprocessor: the student's ``data_preprocessor`` config.
        shard: among processes that train together, each keeps its part of the weights and fetches
            a block's others for the time the block runs, by PyTorch's ``fully_shard``.

    Raises:
        UserError: config or checkpoint are missing, do not fit each other, or the two
            preprocessors cannot be brought together.
    """

    def __init__(
        self,
        config: str,
        checkpoint: str,
        student_preprocessor: dict | None,
        shard: bool = False,
    ) -> None:
        cfg = load_config(config)
        model = model_config(cfg)
        self.inputs = TeacherInputs(student_preprocessor, model.get('data_preprocessor'))
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            network = MODELS.build(model)
        weights = load_checkpoint_file(checkpoint)
        load_weights(network, weights, f'model.teacher.checkpoint={checkpoint}')
        network = revert_sync_batchnorm(network)
        self.network = network.requires_grad_(False).eval()
        self.sharded = shard and get_world_size() > 1

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        # An averaged copy of the Distiller shares the teacher: it never changes.
        return self

    def read(
        self,
        inputs: Tensor,
        data_samples: Sequence | None,
        taps: Collection[Tap],
        stop_after: dict[str, int] | None = None,
    ) -> Recording:
        """Run the teacher on the student's batch and record ``taps``.

        Only ``input_gradient`` among them makes it run its own loss, with gradients, whose graph
        is freed before this returns.

        Args:
            inputs: the student's preprocessed images (N, 3, H, W).
            data_samples: their annotations, for heads that look at image sizes and for the loss.
            taps: what to record.
            stop_after: calls by module path, after which the pass ends.
        """
        self.move_to(inputs.device)
        backward = INPUT_GRADIENT in taps
        inputs = inputs.detach().requires_grad_(backward)
        with torch.set_grad_enabled(backward), record(self.network, taps, stop_after) as recording:
            images = self.inputs(inputs, data_samples)
            if backward:
                losses = self.network(images, data_samples, mode='loss')
                loss, _ = self.network.parse_losses(losses)
                recording.add(INPUT_GRADIENT.path, input_gradient(loss, inputs))
            else:
                self.network(images, data_samples, mode='tensor')
        for module in self.network.modules():  # those that the end of the pass cut short
            if isinstance(module, FSDPModule):
                module.reshard()
        return recording

    def move_to(self, device: torch.device) -> None:
        """Bring the network, or this process's part of it, to the device of its inputs."""
        if self.sharded and device.type == get_device():  # the first, small pass is on the CPU
            if not isinstance(self.network, FSDPModule):
                _shard(self.network, device.type)
        elif next(self.network.parameters()).device != device:
            self.network.to(device)


def _shard(network: nn.Module, device: str) -> None:
    """Divide the weights among the processes, in groups that are gathered together."""
    mesh = init_device_mesh(device, (get_world_size(),))
    total = sum(p.numel() for p in network.parameters())
    blocks = {
        child
        for module in network.modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
        for child in module
        if not isinstance(child, nn.ModuleList)
    }
    for module in reversed(list(network.modules())):  # the inner ones first
        if module in blocks and sum(p.numel() for p in module.parameters()) >= total / 100:
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    fully_shard(network, mesh=mesh, reshard_after_forward=True)
    own = sum(p.to_local().numel() for p in network.parameters())
    print_log(f'the teacher is sharded: {own} of {total} weights in each process', 'current')


def check_teacher_keys(teacher: Mapping) -> None:
    """Check the keys of ``model.teacher``.

    Raises:
        UserError: it is no dict of ``config``, ``checkpoint`` and perhaps ``shard``.
    """
    if not isinstance(teacher, Mapping):
        raise UserError(f'model.teacher={teacher!r}; allowed: dict(config=..., checkpoint=...)')
    for key in ('config', 'checkpoint'):
        if not teacher.get(key):
            raise UserError(f'model.teacher.{key} is missing; a teacher needs it')
        if not isinstance(teacher[key], str):
            raise UserError(f'model.teacher.{key}={teacher[key]!r}; allowed: a path, as a string')
    allowed = ('config', 'checkpoint', 'shard')
    unknown = sorted(teacher.keys() - set(allowed))
    if unknown:
        raise UserError(f'model.teacher: unknown key {unknown[0]!r}; allowed: {", ".join(allowed)}')
    if not isinstance(teacher.get('shard', False), bool):
        raise UserError(f'model.teacher.shard={teacher["shard"]!r}; allowed: True, False')
