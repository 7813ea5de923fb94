"""Names of the release before: they work for one release more and warn of the new name."""

import pytest
import torch
from mmengine.registry import MODELS

import mmkd  # noqa: F401  (registers)
from mmkd import registry
from mmkd.datasets import ScheduledMixDataset
from mmkd.distillation.term import build_term
from mmkd.engine.hooks import DistillVisualizationHook
from mmkd.errors import UserError
from mmkd.ops.selective_scan import choose_backend

TERM = dict(student='a', teacher='b', loss=dict(type='FRSFeatureLoss'))


@pytest.mark.parametrize('old, new', registry._RENAMED.items())
def test_registry_get_old_name_returns_new_type_and_warns(old, new):
    for family in (registry.HOOKS, registry.DATASETS, registry.TRANSFORMS):
        if new in family.module_dict:
            with pytest.warns(FutureWarning, match=f'{old} is now {new}'):
                assert family.get(f'mmkd.{old}') is family.module_dict[new]
            return
    pytest.fail(f'{new} is in no registry')


def test_registry_get_new_name_does_not_warn(recwarn):
    assert registry.HOOKS.get('mmkd.LossWeightHook').__name__ == 'LossWeightHook'
    assert not [w for w in recwarn if issubclass(w.category, FutureWarning)]


def test_term_old_key_teacher_extra_is_loss_inputs():
    with pytest.warns(FutureWarning, match='distill.head.teacher_extra is now loss_inputs'):
        term = build_term('head', dict(TERM, teacher_extra=dict(scores='c')))
    assert [tap.path for tap in term.teacher_taps] == ['b', 'c']


def test_term_old_and_new_key_together_are_an_error():
    both = dict(TERM, teacher_extra=dict(scores='c'), loss_inputs=dict(scores='c'))
    with pytest.raises(UserError, match='teacher_extra and loss_inputs are the same key'):
        build_term('head', both)


def test_visualization_hook_old_key_alone_is_baseline():
    files = dict(config='a.py', checkpoint='a.pth')
    with pytest.warns(FutureWarning, match='alone is now baseline'):
        assert DistillVisualizationHook(alone=files).baseline == files


def test_scheduled_mix_old_key_skip_from_draw_is_mix_until_sample(monkeypatch):
    monkeypatch.setattr('mmdet.datasets.MultiImageMixDataset.__init__', lambda self: None)
    monkeypatch.setattr(ScheduledMixDataset, 'pipeline_types', ['Mosaic'], raising=False)
    with pytest.warns(FutureWarning, match='skip_from_draw is now mix_until_sample'):
        assert ScheduledMixDataset(['Mosaic'], skip_from_draw=7).mix_until_sample == 7


def test_scan_old_environment_variable_chooses_backend(monkeypatch):
    monkeypatch.delenv('MMKD_SCAN_BACKEND', raising=False)
    monkeypatch.setenv('MMKD_SCAN', 'reference')
    with pytest.warns(FutureWarning, match='MMKD_SCAN is now MMKD_SCAN_BACKEND'):
        assert choose_backend(torch.device('cpu')) == 'reference'


def test_explain_build_error_names_the_scope_of_a_type():
    with pytest.raises(KeyError) as caught:
        MODELS.build(dict(type='Distiller'))  # in the scope of MMSegmentation
    line = registry.explain_build_error(caught.value)
    assert line.startswith("type='Distiller' is not a registered model; nearest: mmkd.Distiller")


@pytest.mark.parametrize(
    'config, line',
    [
        (dict(type='EarlyStoppingHook'), "EarlyStoppingHook: expected 'monitor', which it"),
        (dict(type='SyncBuffersHook', no_such=1), "SyncBuffersHook takes no 'no_such'"),
    ],
)
def test_explain_build_error_names_missing_and_unknown_arguments(config, line):
    with pytest.raises(TypeError) as caught:
        registry.HOOKS.build(config)
    assert registry.explain_build_error(caught.value).startswith(line)
