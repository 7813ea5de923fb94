"""Run both networks of a distillation on one validation image."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement

from mmkd.config.checks.data import check_dataloaders
from mmkd.config.student import is_distillation
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.load import load_distiller
from mmkd.distillation.recording import Recording, record
from mmkd.distillation.tap import INPUT_GRADIENT, Tap
from mmkd.distillation.term import Term
from mmkd.errors import UserError
from mmkd.openmmlab.tasks import predicts
from mmkd.registry import DATASETS
from mmkd.visualization.image_grid import ImageGrid


@dataclass(frozen=True)
class Inspection(ImageGrid):
    """What both networks predicted and recorded on one image.

    Attributes:
        sample: The annotations and the student's prediction.
        taught: The annotations and the teacher's prediction; None for a teacher without a head.
        distiller: Both networks and the terms.
        student, teacher: What every tap of the terms recorded.
    """

    sample: BaseDataElement
    taught: BaseDataElement | None
    distiller: Distiller
    student: Recording
    teacher: Recording


def inspect_networks(config: Config, checkpoint: str | None, index: int) -> Inspection:
    """Run both networks of a distillation config on one validation image.

    Args:
        config: The distillation config; its teacher's checkpoint must exist.
        checkpoint: The student's checkpoint; None for random weights.
        index: Index in ``val_dataloader.dataset``.

    Raises:
        UserError: The config does not distil, or the index, data or a checkpoint do not exist.
    """
    if not is_distillation(config):
        raise UserError(f'model.type={config.model.type}: expected a Distiller')
    check_dataloaders(config, 'val_dataloader')
    init_default_scope(config.get('default_scope') or 'mmengine')
    dataset = DATASETS.build(config.val_dataloader.dataset)
    if not 0 <= index < len(dataset):
        raise UserError(f'--index {index}: expected 0 to {len(dataset) - 1}')
    distiller = load_distiller(config, checkpoint).eval()
    return inspect_image(distiller, dataset[index])


@torch.no_grad()
def inspect_image(distiller: Distiller, item: dict) -> Inspection:
    """Run both networks of a distillation, which is in eval mode, on one image.

    Args:
        distiller: Both networks and the terms.
        item: An item of a validation dataset.
    """
    batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples'].clone()])
    data = distiller.data_preprocessor(batch, training=False)
    inputs, samples = data['inputs'], data['data_samples']
    terms, teacher = distiller.distill.values(), distiller.teacher
    of_teacher = teacher.run(inputs, samples, _taps(terms, 'teacher_taps'))
    taps = _taps(terms, 'student_taps')
    if INPUT_GRADIENT in taps:
        _, of_student = distiller.forward_student(inputs, samples, taps)
    else:
        with record(distiller.student, taps) as of_student:
            distiller.student(inputs, samples, mode='tensor')
    # Predict in separate passes: a test_cfg can cut the image into windows.
    copies = [sample.clone() for sample in samples]
    network = teacher.for_prediction(inputs.device)
    taught = [None]
    if predicts(network):
        taught = network(*teacher.inputs(inputs, copies), mode='predict')
    learnt = distiller.student(inputs, samples, mode='predict')
    size = tuple(inputs.shape[-2:])
    image = input_picture(item)
    return Inspection(image, size, learnt[0], taught[0], distiller, of_student, of_teacher)


def input_picture(item: dict) -> np.ndarray:
    """Return the image (H, W, 3), BGR, uint8, of a dataset item.

    A grey image has three equal channels, and one of more than three shows its first three.
    """
    image = item['inputs'].numpy().transpose(1, 2, 0)
    image = image[..., :3] if image.shape[2] >= 3 else image[..., [0, 0, 0]]
    if image.dtype != np.uint8:  # of a loader with `to_float32`
        image = image.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(image)


def _taps(terms: Iterable[Term], side: str) -> list[Tap]:
    return [tap for term in terms for tap in getattr(term, side)]
