"""The teacher: a frozen network, run up to its last tap, never saved."""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from mmkd.checkpoints.load_weights import check_finite
from mmkd.distillation.recording import Recording, record
from mmkd.distillation.tap import INPUT_GRADIENT, Tap
from mmkd.distillation.teacher_inputs import TeacherInputs
from mmkd.errors import UserError
from mmkd.openmmlab.lean import make_lean, use_channels_last
from mmkd.openmmlab.lean_batch_norm import fold_batch_norms
from mmkd.openmmlab.passes import run_without_loss
from mmkd.ops.gradient import input_gradient
from mmkd.teachers import build_teacher_network
from mmkd.teachers.keys import weights_source


class Teacher:
    """A trained network that only predicts.

    It is not an ``nn.Module``. Code that walks the Distiller's modules to save, optimise,
    broadcast, average or set a training mode cannot find it.

    One of ``config``, ``huggingface``, ``timm`` and ``type`` names the network.

    Args:
        config: Path or ``library::path`` of the teacher's config.
        checkpoint: File or URL of its weights, ``.pth`` or ``.safetensors``, which must cover the
            whole network.
        student_preprocessor: The student's ``data_preprocessor`` config.
        shard: Experimental. Each process keeps a part of the weights and fetches the others of a
            block while the block runs, by PyTorch's ``fully_shard``.
        dtype: Type in which the teacher computes: ``'float32'``, ``'bfloat16'`` or ``'float16'``.
        scale: Height and width of the teacher's images, divided by those of the student's, > 0.
        huggingface: Folder of a Hugging Face SegFormer, which holds its weights.
        timm: Name of a timm backbone, without a head; its features are ``backbone[i]``.
        type: Import path of a ``torch.nn.Module``, or of a function that returns one. It takes
            images (B, 3, H, W), RGB.
        arguments: Arguments of ``type``, or of ``timm.create_model``.
        mean, std: Normalisation of the images for ``type``: three numbers (R, G, B) on the scale
            0 to 255.

    Raises:
        UserError: A key is wrong, files are missing or do not fit each other, or the two
            preprocessors are incompatible.
    """

    def __init__(
        self,
        config: str | None = None,
        checkpoint: str | None = None,
        student_preprocessor: Mapping | None = None,
        shard: bool = False,
        dtype: str = 'float32',
        scale: float = 1.0,
        huggingface: str | None = None,
        timm: str | None = None,
        type: str | Callable | None = None,
        arguments: Mapping | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        source = dict(config=config, huggingface=huggingface, timm=timm, type=type)
        source |= dict(checkpoint=checkpoint, arguments=arguments, mean=mean, std=std)
        built = build_teacher_network(source)
        self._weights_source = weights_source(source)
        self.inputs = TeacherInputs(
            student_preprocessor, built.preprocessor, scale, built.multiple, built.size
        )
        self.classes = built.classes
        network = revert_sync_batchnorm(built.network)
        make_lean(network)
        use_channels_last(network)
        network.requires_grad_(False)
        network.eval()  # its result is not used: LD's own `train` returns nothing
        self.network = network
        self.dtype = None if dtype == 'float32' else getattr(torch, dtype)
        if self.dtype:
            # The mean in it is not rounded.
            preprocessor = copy.deepcopy(getattr(network, 'data_preprocessor', None))
            network.to(self.dtype)
            if preprocessor is not None:
                network.data_preprocessor = preprocessor
        self.sharded = shard and get_world_size() > 1

    def fold_batch_norms(self, taps: Collection[Tap]) -> None:
        """Make :meth:`run` faster, which may then read only these ``taps``."""
        if self.dtype is None and not self.sharded:
            modules = {tap.path for tap in taps if not tap.reads_attention}
            fold_batch_norms(self.network, modules - {INPUT_GRADIENT.path})

    def check_weights(self) -> None:
        """Refuse weights that are NaN or infinite.

        Raises:
            UserError: A parameter is; the message names the file and the first of them.
        """
        check_finite(self.network.named_parameters(), self._weights_source)

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        # An averaged copy of the Distiller shares the teacher, because it never changes.
        return self

    def run(
        self,
        inputs: Tensor,
        data_samples: Sequence | None,
        taps: Collection[Tap],
        stop_after: dict[str, int] | None = None,
        until_read: bool = False,
    ) -> Recording:
        """Run the teacher on the student's batch and record ``taps``.

        It runs its own loss, with gradients, only if ``input_gradient`` is one of them. That graph
        is freed before this returns.

        Args:
            inputs: The student's preprocessed images (B, 3, H, W).
            data_samples: Their annotations, for heads that use image sizes and for the loss.
            taps: The taps to record.
            stop_after: Calls by module path, after which the pass ends.
            until_read: Whether the pass may fail once all taps can be read.
        """
        self.move_to(inputs.device)
        backward = INPUT_GRADIENT in taps
        if backward and self.dtype:
            raise UserError(
                f'model.teacher.dtype: expected float32 with the tap {INPUT_GRADIENT}; leave it out'
            )
        inputs = inputs.detach().requires_grad_(backward)
        recorded = record(self.network, taps, stop_after, until_read)
        with torch.set_grad_enabled(backward), recorded as recording:
            images, data_samples = self.inputs(inputs, data_samples)
            if backward and images.shape != inputs.shape:
                raise UserError(
                    'model.teacher.scale: expected images of the same size for both networks with '
                    f'the tap {INPUT_GRADIENT}; leave out scale, or take another teacher'
                )
            if self.dtype:
                images = images.to(self.dtype)
            if backward:
                losses = self.network(images, data_samples, mode='loss')
                loss, _ = self.network.parse_losses(losses)
                recording.add(INPUT_GRADIENT.path, input_gradient(loss, inputs))
            else:
                run_without_loss(self.network, images, data_samples)
        if self.sharded:
            for module in self.network.modules():  # those interrupted by the early end
                if isinstance(module, FSDPModule):
                    module.reshard()
        return recording

    def for_prediction(self, device: torch.device) -> nn.Module:
        """Return the network on a device, to run it outside of :meth:`run`.

        It computes in float32. With another ``dtype`` it is a copy of the rounded weights, because
        preprocessors yield float32 and some operators for boxes take nothing else. With ``shard``
        the copy is divided as well.

        Raises:
            UserError: The rounded weights are already divided among the processes.
        """
        if self.dtype:
            if isinstance(self.network, FSDPModule):
                raise UserError(
                    'model.teacher.dtype: expected float32 with shard=True, to predict after the '
                    'first step; remove one of the two'
                )
            copied = copy.deepcopy(self.network).float()
            if self.sharded and device.type == get_device():
                _shard(copied, device.type)
                return copied
            return copied.to(device)
        self.move_to(device)
        return self.network

    def move_to(self, device: torch.device) -> None:
        """Move the network, or this process's part of it, to the device of its inputs."""
        if self.sharded and device.type == get_device():  # the dry run is on the CPU
            if not isinstance(self.network, FSDPModule):
                _shard(self.network, device.type)
        elif any(p.device != device for p in islice(self.network.parameters(), 1)):
            self.network.to(device)


def _shard(network: nn.Module, device: str) -> None:
    """Divide the weights among the processes, in groups that are gathered together."""
    mesh = init_device_mesh(device, (get_world_size(),))
    network.to(memory_format=torch.contiguous_format)  # `fully_shard` takes no other layout
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
