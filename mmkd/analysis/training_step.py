"""Training steps to measure, with random weights and noise as data."""

import tempfile
from collections.abc import Callable

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmkd.config.load import load_config
from mmkd.config.student import model_config, whole_model
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.gradient_share import measure_gradient_norms
from mmkd.openmmlab.lean import use_channels_last
from mmkd.registry import MODELS
from mmkd.teachers import teacher_kind


def noise_labels(
    student: dict, count: int, size: tuple[int, int], generator: torch.Generator
) -> list[BaseDataElement]:
    """Return annotations of ``count`` images of ``size`` for the student that a config describes.

    A segmentor gets a class for every pixel, a classifier one for every image, a detector twenty
    boxes of its first class.
    """
    if 'decode_head' in student:
        classes = student.decode_head.num_classes
        labels = torch.randint(classes, (count, 1, *size), generator=generator)
        return [SegDataSample(gt_sem_seg=PixelData(data=x)).to(get_device()) for x in labels]
    if 'head' in student:
        from mmpretrain.structures import DataSample  # an extra, there if the student is

        labels = torch.randint(student.head.num_classes, (count, 1), generator=generator)
        return [DataSample().set_gt_label(x).to(get_device()) for x in labels]
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


def full_weight_terms(config: Config) -> dict:
    """Return the config's terms at their full weight; 1 where it is a share of the gradient."""
    full = {}
    for name, term in config.model.distill.items():
        if term is not None:
            weight = term.get('weight', 1.0)
            full[name] = dict(
                term, schedule=None, weight=1.0 if isinstance(weight, dict) else weight
            )
    return full


def build_distiller(config: Config, terms: dict) -> Distiller:
    """Build the config's Distiller with ``terms`` instead of its own.

    The teacher of a ``config`` is random; others are read, weights and all.
    """
    model = whole_model(config)
    if teacher_kind(model.teacher) != 'config':
        model.distill = terms
        return _as_trained(MODELS.build(model))
    with tempfile.NamedTemporaryFile(suffix='.pth') as file:
        teacher = MODELS.build(model_config(load_config(model.teacher.config)))
        torch.save(teacher.state_dict(), file.name)
        model.teacher = dict(model.teacher, checkpoint=file.name)
        model.distill = terms
        return _as_trained(MODELS.build(model))


def _as_trained(distiller: Distiller) -> Distiller:
    use_channels_last(distiller)  # as LeanHeadsHook does
    return distiller.train().to(get_device())


def training_steps(
    distiller: Distiller, optim_config: dict, inputs: torch.Tensor, samples: list
) -> dict[str, Callable[[], None]]:
    """Return the student's plain step, the step with the teacher's pass (floor), and with terms.

    Returns:
        The three as ``plain``, ``floor`` and ``distil``; and as ``measure`` the last one with the
        gradients by which terms with ``weight=dict(type='gradient_share')`` are weighted.
    """
    optimizer = build_optim_wrapper(distiller, optim_config)

    def plain() -> None:
        losses = distiller.student(inputs, samples, mode='loss')
        optimizer.update_params(distiller.student.parse_losses(losses)[0])

    def floor() -> None:
        distiller.run_teacher(inputs, samples)
        plain()

    def distil() -> None:
        losses = distiller.loss(inputs, samples)
        optimizer.update_params(distiller.parse_losses(losses)[0])

    def measure() -> None:
        losses = distiller.loss(inputs, samples)
        parts = {
            part: {k.removeprefix(part): v for k, v in losses.items() if k.startswith(part)}
            for part in ('student.', 'distill.')
        }
        task, _ = distiller.student.parse_losses(parts['student.'])
        parameters = list(distiller.student.parameters())
        measure_gradient_norms(task, list(parts['distill.'].values()), parameters)
        optimizer.update_params(distiller.parse_losses(losses)[0])

    return dict(plain=plain, floor=floor, distil=distil, measure=measure)
