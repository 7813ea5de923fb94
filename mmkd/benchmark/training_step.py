"""Training steps to measure: random weights, noise for data."""

import tempfile
from collections.abc import Callable

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmkd.configs import load_config, model_config
from mmkd.distiller import Distiller
from mmkd.registry import MODELS


def noise_labels(
    student: dict, count: int, size: tuple[int, int], generator: torch.Generator
) -> list[SegDataSample] | list[DetDataSample]:
    """Annotations of ``count`` images of ``size`` for the student that a config describes.

    A segmentor gets a class for every pixel, a detector twenty boxes of its first class.
    """
    if 'decode_head' in student:
        classes = student.decode_head.num_classes
        labels = torch.randint(classes, (count, 1, *size), generator=generator)
        return [SegDataSample(gt_sem_seg=PixelData(data=x)).to(get_device()) for x in labels]
    scale = torch.tensor([size[1], size[0], size[1], size[0]])
    corners = torch.rand(count, 20, 2, 2, generator=generator).sort(dim=2).values
    info = dict(
        img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1, 1)
    )
    instances = [
        InstanceData(bboxes=boxes, labels=torch.zeros(20, dtype=torch.long))
        for boxes in corners.flatten(2) * scale
    ]
    return [
        DetDataSample(gt_instances=i, ignored_instances=i[:0], metainfo=info).to(get_device())
        for i in instances
    ]


def terms_of(config: Config) -> dict:
    """The config's terms, at their full weight."""
    terms = config.model.distill.items()
    return {name: dict(term, schedule=None) for name, term in terms if term is not None}


def build_distiller(config: Config, terms: dict) -> Distiller:
    """The config's Distiller with ``terms`` in place of its own and a teacher of random weights."""
    model = config.model.copy()
    with tempfile.NamedTemporaryFile(suffix='.pth') as file:
        teacher = MODELS.build(model_config(load_config(model.teacher.config)))
        torch.save(teacher.state_dict(), file.name)
        model.teacher = dict(config=model.teacher.config, checkpoint=file.name)
        model.distill = terms
        return MODELS.build(model).train().to(get_device())


def training_steps(
    distiller: Distiller, optim_config: dict, inputs: torch.Tensor, samples: list
) -> dict[str, Callable[[], None]]:
    """The student's step alone, with the teacher's pass (the floor), and with the terms.

    Returns:
        The three as ``plain``, ``floor`` and ``distil``.
    """
    optimizer = build_optim_wrapper(distiller, optim_config)

    def plain() -> None:
        losses = distiller.student(inputs, samples, mode='loss')
        optimizer.update_params(distiller.student.parse_losses(losses)[0])

    def floor() -> None:
        distiller.read_teacher(inputs, samples)
        plain()

    def distil() -> None:
        losses = distiller.loss(inputs, samples)
        optimizer.update_params(distiller.parse_losses(losses)[0])

    return dict(plain=plain, floor=floor, distil=distil)
