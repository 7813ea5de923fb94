"""Run a network of an OpenMMLab library outside of its training."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmkd.config.types import type_name
from mmkd.openmmlab.tasks import is_segmentor


def run_without_loss(
    network: nn.Module, images: Tensor, samples: Sequence[BaseDataElement] | None
) -> object:
    """Run a network on preprocessed images, without its loss and without post-processing.

    This is MMEngine's mode ``tensor``, save for those segmentors that do not support it: MaskFormer
    and Mask2Former, whose head also wants to know the images' sizes, and cascades such as PointRend
    and OCRNet, which have several heads. A network that is not MMEngine's gets the images alone.

    Args:
        network: Any network that MMEngine can train, or any module of images.
        images: Preprocessed images (B, C, H, W).
        samples: Their annotations, for networks that look at image sizes.
    """
    if not isinstance(network, BaseModel):
        return network(images)
    if not is_segmentor(network) or _head_takes_features_alone(network):
        return network(images, samples, mode='tensor')
    size = tuple(images.shape[-2:])
    facts = dict(img_shape=size, ori_shape=size, pad_shape=size)
    known = [sample.metainfo for sample in samples] if samples is not None else [{}] * len(images)
    # MMSegmentation 1.4.2 writes pad_shape=None where a sample does not have a label map
    # (findings/mmseg_pad_shape_none.sh).
    known = [{key: fact for key, fact in one.items() if fact is not None} for one in known]
    return network.encode_decode(images, [facts | one for one in known])


def _head_takes_features_alone(network: nn.Module) -> bool:
    head = network.decode_head
    if isinstance(head, nn.ModuleList):
        return False
    # Look at the class, because the `forward` of a tapped head is wrapped.
    needed = [
        p
        for p in list(inspect.signature(type(head).forward).parameters.values())[1:]
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(needed) <= 1


@contextmanager
def told_the_time() -> Iterator[None]:
    """Tell losses that ask the runner for epoch and iteration that training begins.

    TOOD, BoxInst and YOLOX ask MMEngine's message hub, which the runner fills when it trains.
    Everything in the hub is put back afterwards.
    """
    facts = MessageHub.get_current_instance().runtime_info
    before = dict(facts)
    for key in ('epoch', 'iter'):
        facts.setdefault(key, 0)
    try:
        yield
    finally:
        facts.clear()
        facts.update(before)


def initialise_without_files(network: nn.Module) -> None:
    """Initialise the weights as training would, except those that it would read from a file.

    Args:
        network: A copy that is thrown away.
    """
    for module in network.modules():
        plans = getattr(module, 'init_cfg', None)
        plans = plans if isinstance(plans, list | tuple) else [plans]
        kinds = [type_name(plan.get('type')) for plan in plans if isinstance(plan, dict)]
        if {'Pretrained', 'PretrainedInit'} & set(kinds):
            module.init_cfg = None
    network._dump_init_info = lambda: None  # MMEngine would log a line for each parameter
    network.init_weights()
