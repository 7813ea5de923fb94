"""One validation image as a distillation's two networks see it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmkd.checkpoint import load_checkpoint_file, load_weights
from mmkd.configs import check_dataloaders, is_distillation
from mmkd.distiller import Distiller
from mmkd.errors import UserError
from mmkd.registry import DATASETS, MODELS
from mmkd.taps import INPUT_GRADIENT, Recording, Tap, record
from mmkd.term import Term


@dataclass(frozen=True)
class Reading:
    """What :func:`read_networks` read.

    Attributes:
        image: BGR picture (H, W, 3), uint8, as the pipeline yields it.
        sample: its annotations, and the student's answer.
        taught: the same with the teacher's answer.
        inputs: height and width of the networks' input, which is ``image`` with padding.
        distiller: both networks and the terms.
        student, teacher: what every tap of the terms recorded.
    """

    image: np.ndarray
    sample: BaseDataElement
    taught: BaseDataElement
    inputs: tuple[int, int]
    distiller: Distiller
    student: Recording
    teacher: Recording

    def extent(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels that a grid (rows, columns) spans, from the top left on.

        That is the networks' input, or more: convolutions of stride 2 round up, and the last cells
        of a coarse level reach beyond it.
        """
        for stride in (2**k for k in range(max(self.inputs).bit_length())):
            if tuple(math.ceil(size / stride) for size in self.inputs) == tuple(grid):
                return grid[0] * stride, grid[1] * stride
        return self.inputs  # a pooled grid, or a stride that is no power of two

    def crop(self, grid: Tensor) -> np.ndarray:
        """The cells of a map (h, w) that lie over the image, by more than half."""
        (height, width), (rows, columns) = self.extent(grid.shape), grid.shape
        bottom = max(1, round(rows * self.image.shape[0] / height))
        right = max(1, round(columns * self.image.shape[1] / width))
        return grid[:bottom, :right].cpu().numpy()

    def spread(self, grid: Tensor) -> np.ndarray:
        """A map (h, w) spread over the pixels (H, W) of the image; the image may cut cells."""
        height, width = self.extent(grid.shape)
        spread = cv2.resize(grid.float().cpu().numpy(), (width, height))
        return spread[: self.image.shape[0], : self.image.shape[1]]


def read_networks(config: Config, checkpoint: str | None, index: int) -> Reading:
    """Run both networks of a distillation config on one validation image.

    Args:
        config: the distillation config; its teacher's checkpoint must exist.
        checkpoint: the student's; random weights if None.
        index: which image of ``val_dataloader.dataset``.

    Raises:
        UserError: the config does not distil, or the index, data or a checkpoint are not there.
    """
    if not is_distillation(config):
        raise UserError(f'model.type={config.model.type}; allowed: a Distiller')
    check_dataloaders(config, 'val_dataloader')
    init_default_scope(config.default_scope)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    if not 0 <= index < len(dataset):
        raise UserError(f'--index {index}; allowed: 0 to {len(dataset) - 1}')
    distiller = load_distiller(config, checkpoint).eval()
    return read_image(distiller, dataset[index])


def load_distiller(config: Config, checkpoint: str | None) -> Distiller:
    """Both networks and the terms of a distillation config.

    Args:
        config: the distillation config; its teacher's checkpoint must exist.
        checkpoint: the student's; random weights if None.

    Raises:
        UserError: a checkpoint is not there or does not fit.
    """
    init_default_scope(config.default_scope)
    distiller = MODELS.build(config.model)
    if checkpoint is not None:
        weights = load_checkpoint_file(checkpoint)
        load_weights(distiller.student, weights, f'checkpoint {checkpoint}')
        # What the terms learnt is there in a checkpoint of their own training.
        distiller.distill.load_state_dict(weights.get('distill', {}), strict=False)
    return distiller


@torch.no_grad()
def read_image(distiller: Distiller, item: dict) -> Reading:
    """Run both networks of a distillation, which is in eval mode, on one image.

    Args:
        distiller: both networks and the terms.
        item: of a validation data set.
    """
    batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples'].clone()])
    data = distiller.data_preprocessor(batch, training=False)
    inputs, samples = data['inputs'], data['data_samples']
    terms, teacher = distiller.distill.values(), distiller.teacher
    of_teacher = teacher.read(inputs, samples, _taps(terms, 'teacher_taps'))
    taps = _taps(terms, 'student_taps')
    if INPUT_GRADIENT in taps:
        _, of_student = distiller.read_student(inputs, samples, taps)
    else:
        with record(distiller.student, taps) as of_student:
            distiller.student(inputs, samples, mode='tensor')
    # Answers in passes of their own: a test_cfg may cut the image into windows.
    copies = [sample.clone() for sample in samples]
    taught = teacher.network(teacher.inputs(inputs, samples), copies, mode='predict')
    learnt = distiller.student(inputs, samples, mode='predict')
    size = tuple(inputs.shape[-2:])
    image = input_picture(item)
    return Reading(image, learnt[0], taught[0], size, distiller, of_student, of_teacher)


def input_picture(item: dict) -> np.ndarray:
    """The image (H, W, 3), BGR, uint8, of an item of a data set."""
    return np.ascontiguousarray(item['inputs'].numpy().transpose(1, 2, 0))


def _taps(terms: Iterable[Term], side: str) -> list[Tap]:
    return [tap for term in terms for tap in getattr(term, side)]
