"""One validation image as a distillation's two networks see it."""

from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from mmkd.checkpoint import load_checkpoint_file, load_weights
from mmkd.configs import check_data_roots, is_distillation
from mmkd.distiller import Distiller
from mmkd.errors import UserError
from mmkd.registry import DATASETS, MODELS
from mmkd.taps import Recording, record


@dataclass(frozen=True)
class Reading:
    """What :func:`read_networks` read.

    Attributes:
        image: BGR picture (H, W, 3), uint8, as the pipeline yields it.
        sample: its annotations.
        inputs: height and width of the networks' input, which is ``image`` with padding.
        distiller: both networks and the terms.
        student, teacher: what every tap of the terms recorded.
    """

    image: np.ndarray
    sample: object
    inputs: tuple[int, int]
    distiller: Distiller
    student: Recording
    teacher: Recording

    def crop(self, grid: Tensor) -> np.ndarray:
        """The part of a map (h, w) over the networks' input that lies over the image."""
        (height, width), (rows, columns) = self.inputs, grid.shape
        bottom = max(1, round(rows * self.image.shape[0] / height))
        right = max(1, round(columns * self.image.shape[1] / width))
        return grid[:bottom, :right].cpu().numpy()


@torch.no_grad()
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
    check_data_roots(config, 'val_dataloader')
    init_default_scope(config.default_scope)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    if not 0 <= index < len(dataset):
        raise UserError(f'--index {index}; allowed: 0 to {len(dataset) - 1}')
    distiller = MODELS.build(config.model).eval()
    if checkpoint is not None:
        weights = load_checkpoint_file(checkpoint)
        load_weights(distiller.student, weights, f'checkpoint {checkpoint}')
        # What the terms learnt is there in a checkpoint of their own training.
        distiller.distill.load_state_dict(weights.get('distill', {}), strict=False)
    item = dataset[index]
    batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
    data = distiller.data_preprocessor(batch, training=False)
    inputs, samples = data['inputs'], data['data_samples']
    terms = distiller.distill.values()
    teacher = distiller.teacher.read(inputs, samples, [t for x in terms for t in x.teacher_taps])
    with record(distiller.student, [t for x in terms for t in x.student_taps]) as student:
        distiller.student(inputs, samples, mode='tensor')
    image = np.ascontiguousarray(item['inputs'].numpy().transpose(1, 2, 0))
    return Reading(image, samples[0], tuple(inputs.shape[-2:]), distiller, student, teacher)
