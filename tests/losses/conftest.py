"""A training run in which one distillation loss acts alone."""

from collections.abc import Callable

import pytest
import torch

from mmkd.config.load import load_config
from mmkd.distillation.recording import record
from mmkd.registry import MODELS


@pytest.fixture
def losses_in_training(teacher_files) -> Callable[..., list[float]]:
    """Trains Fast-SCNN by one loss between its decoder and a SegFormer's attention.

    Returns the loss of every step. The batch is always the same; the teacher is small, and its
    attention far from uniform.
    """

    def train(loss: dict, steps: int) -> list[float]:
        config = load_config('configs/segformer_fastscnn_spectral.py').model
        config.teacher = dict(config=teacher_files[0], checkpoint=teacher_files[1])
        config.distill = dict(objects=dict(config.distill.objects, loss=loss))
        torch.manual_seed(0)
        distiller = MODELS.build(config).train()
        for name, parameter in distiller.teacher.network.named_parameters():
            if '.attn.attn.in_proj' in name:
                torch.nn.init.normal_(parameter, std=0.5)
        images = torch.randn(2, 3, 64, 64)
        teacher = distiller.run_teacher(images, None)
        term = distiller.distill['objects']
        optimizer = torch.optim.Adam([*distiller.student.parameters(), *term.parameters()], 3e-3)
        stop_after = {tap.path: 1 for tap in term.student_taps}
        values = []
        for _ in range(steps):
            with record(distiller.student, term.student_taps, stop_after) as student:
                distiller.student(images)
            value = term(student, teacher)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.item())
        return values

    return train
