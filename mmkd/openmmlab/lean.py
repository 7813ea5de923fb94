"""A network that costs less in training and in the teacher's pass, with the same results."""

import torch
from mmengine.device import get_device
from mmseg.models.decode_heads.dm_head import DCM
from torch import nn

from mmkd.openmmlab.lean_attention import use_lean_attention
from mmkd.openmmlab.lean_heads import use_lean_heads
from mmkd.openmmlab.tasks import is_segmentor


def make_lean(model: nn.Module) -> None:
    """Let the networks in ``model`` compute the same for less time and memory, in place.

    Heads get the lean loss and the early fusion (:mod:`mmkd.openmmlab.lean_heads`), and attention
    leaves out the weights that are not used (:mod:`mmkd.openmmlab.lean_attention`). Outputs are the
    same up to rounding. A second call changes nothing.
    """
    use_lean_heads(model)
    use_lean_attention(model)


def use_channels_last(model: nn.Module) -> None:
    """Lay out the 4-D weights of the segmentors in ``model`` for a CPU's convolutions, in place.

    A convolution follows the layout of its weights, so images need no conversion. Values, shapes
    and names stay. On other devices nothing changes: there it has not been timed. DMNet stays as it
    is: it views features (B, C, H, W) as (1, BC, H, W), which this layout does not allow.

    Call it after ``init_weights``: random values are drawn in the order of the memory, so the same
    seed would give other weights.
    """
    if get_device() != 'cpu':
        return
    for network in filter(is_segmentor, model.modules()):
        if not any(isinstance(module, DCM) for module in network.modules()):
            network.to(memory_format=torch.channels_last)
