"""The student's own names where an optimizer constructor looks for them."""

import copy

import pytest
from mmdet.engine.optimizers import LearningRateDecayOptimizerConstructor as StageDecay
from mmengine.model import BaseModule
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import init_default_scope
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor as LayerDecay
from torch import nn

from mmkd.registry import MODELS


@MMENGINE_MODELS.register_module()
class TinyConvNeXt(BaseModule):
    """A backbone of two stages whose parameters have ConvNeXt's names."""

    def __init__(self):
        super().__init__()
        self.downsample_layers = nn.ModuleList([nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 2, 2)])
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 1)) for _ in range(2))

    def forward(self, x):
        outputs = []
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
            outputs.append(x)
        return tuple(outputs)


@pytest.fixture
def convnext_model(model_config):
    """A Distiller's config whose student has such a backbone; the term has an adapter."""
    student = copy.deepcopy(model_config.student)
    head = dict(type='FCNHead', in_channels=8, in_index=1, channels=8, num_classes=11)
    student.pop('auxiliary_head', None)
    student['backbone'], student['decode_head'] = dict(type='TinyConvNeXt'), head
    term = dict(
        student='backbone[1]', teacher='backbone[3]', loss=dict(type='FeatureMSELoss'),
        adapter=dict(type='Conv2d', kernel_size=1),
    )  # fmt: skip
    return dict(model_config, student=student, distill=dict(feature=term))


def rates(model: nn.Module, wrapper: dict) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter, by its shape and value."""
    groups = build_optim_wrapper(model, wrapper).optimizer.param_groups
    return {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}


@pytest.mark.parametrize(
    'constructor, options',
    [
        (StageDecay, dict(decay_rate=0.5, decay_type='stage_wise', num_layers=6)),
        (LayerDecay, dict(decay_rate=0.7, decay_type='layer_wise', num_layers=6)),
        (None, dict(custom_keys={'backbone.stages': dict(lr_mult=0.1)}, norm_decay_mult=0)),
        (None, None),
    ],
)
def test_build_optim_wrapper_distiller_rates_are_those_of_the_student(
    convnext_model, constructor, options
):
    distiller = MODELS.build(convnext_model)
    wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.1), paramwise_cfg=options)
    if constructor is not None:
        wrapper['constructor'] = constructor
        if constructor is LayerDecay:
            init_default_scope('mmseg')
    of_student = rates(distiller.student, wrapper)
    of_both = rates(distiller, wrapper)
    assert {p: of_both[p] for p in of_student} == of_student
    assert of_both.keys() - of_student.keys() == {id(p) for p in distiller.distill.parameters()}
    if options:
        assert len(set(of_student.values())) > 1


def test_as_optimized_shares_the_modules_and_changes_none(convnext_model):
    distiller = MODELS.build(convnext_model)
    names = [name for name, _ in distiller.named_parameters()]
    view = distiller.as_optimized()
    assert view.backbone is distiller.student.backbone
    assert 'distill.feature.adapter.0.weight' in dict(view.named_parameters())
    assert [name for name, _ in distiller.named_parameters()] == names
    assert not hasattr(distiller.student, 'distill')


@pytest.mark.parametrize('distilled', [True, False])
def test_build_optim_wrapper_of_a_network_with_a_layer_named_module_has_every_parameter(
    convnext_model, distilled
):
    """MMEngine takes such a layer for the network inside a distributed wrapper."""
    network = MODELS.build(convnext_model if distilled else convnext_model['student'])
    (network.student if distilled else network).module = nn.Conv2d(3, 3, 1)
    found = rates(network, dict(optimizer=dict(type='SGD', lr=0.1)))
    assert found.keys() == {id(p) for p in network.parameters()}
