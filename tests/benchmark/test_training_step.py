"""The three steps that a benchmark compares are what a training does."""

import pytest
import torch
from mmengine.registry import DefaultScope

from mmkd.benchmark.training_step import build_distiller, noise_labels, terms_of, training_steps
from mmkd.configs import load_config


@pytest.mark.parametrize(
    'path', ['configs/segformer_fastscnn_freq.py', 'configs/retinanet_r18_r18half_frs.py']
)
def test_the_floor_trains_the_student_as_without_terms(path):
    config = load_config(path)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 64, 96, generator=generator)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        samples = noise_labels(config.model.student, 2, (64, 96), generator)
        distiller = build_distiller(config, terms_of(config))
        start = {name: value.clone() for name, value in distiller.state_dict().items()}
        after = {}
        for name in ('plain', 'floor', 'distil'):
            distiller.load_state_dict(start)
            torch.manual_seed(0)  # dropout's
            training_steps(distiller, config.optim_wrapper, inputs, samples)[name]()
            after[name] = torch.cat([p.detach().flatten() for p in distiller.student.parameters()])
    before = torch.cat(
        [start[f'student.{n}'].flatten() for n, _ in distiller.student.named_parameters()]
    )
    assert after['plain'].equal(after['floor'])
    assert not after['plain'].equal(before)
    assert not after['distil'].equal(after['plain'])
