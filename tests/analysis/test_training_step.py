"""The three steps that a benchmark compares are what a training does."""

import pytest
import torch
from mmengine.registry import DefaultScope

from mmkd.analysis.training_step import (
    build_distiller,
    full_weight_terms,
    noise_labels,
    training_steps,
)
from mmkd.config.load import load_config
from mmkd.registry import MODELS


def test_full_weight_terms_gradient_share_weighs_one(recipe):
    terms = dict(recipe.model.distill)
    first, second = list(terms)[:2]
    terms[first] = dict(terms[first], weight=dict(type='gradient_share', share=0.2))
    terms[second] = dict(terms[second], weight=3.0, schedule=dict(type='step_off', at=1))
    recipe.model.distill = dict(terms, dropped=None)
    full = full_weight_terms(recipe)
    assert [full[name]['weight'] for name in (first, second)] == [1.0, 3.0]
    distiller = build_distiller(recipe, full)
    assert [term.current_weight for term in distiller.distill.values()][:2] == [1.0, 3.0]
    assert 'dropped' not in full


@pytest.mark.parametrize(
    'path', ['configs/segformer_fastscnn_freq.py', 'configs/retinanet_r18_r18half_frs.py']
)
def test_training_steps_floor_trains_student_without_terms(path):
    config = load_config(path)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 64, 96, generator=generator)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        samples = noise_labels(config.model.student, 2, (64, 96), generator)
        distiller = build_distiller(config, full_weight_terms(config))
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


def test_noise_labels_of_a_classifier_train_it():
    pytest.importorskip('mmpretrain', reason='needs the extra classification')
    config = load_config('configs/students/resnet18tiny_digits.py')
    generator = torch.Generator().manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        samples = noise_labels(config.model, 8, (32, 32), generator)
        network = MODELS.build(config.model)
    losses = network.loss(torch.randn(8, 3, 32, 32, generator=generator), samples)
    assert losses['loss'].isfinite()
    labels = torch.cat([sample.gt_label for sample in samples])
    assert len(labels.unique()) > 2 and set(labels.tolist()) <= set(range(10))
