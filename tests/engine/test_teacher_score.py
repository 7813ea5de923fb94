"""Why a teacher does not get a score on the data of its student."""

import pytest
from mmengine.registry import DefaultScope
from torch import nn

from mmkd.config.load import load_config
from mmkd.engine.teacher_score import why_not_scored
from mmkd.registry import MODELS


@pytest.fixture
def segmentor(distiller) -> nn.Module:
    return distiller.student


@pytest.fixture
def detector(detection_files) -> nn.Module:
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(load_config(detection_files['student']).model)


def test_why_not_scored_is_none_where_task_and_classes_fit(distiller, segmentor):
    classes = [f'class {i}' for i in range(11)]
    assert why_not_scored(distiller.teacher.network, segmentor, classes) is None
    assert why_not_scored(distiller.teacher.network, segmentor, None) is None


def test_why_not_scored_names_classes_task_and_head(segmentor, detector):
    reason = why_not_scored(segmentor, segmentor, ['soil', 'crop', 'weed'])
    assert 'num_classes=11: expected 3' in reason
    other_task = 'its task is not the one of the student'
    assert why_not_scored(detector, segmentor, None) == other_task
    assert why_not_scored(segmentor, detector, None) == other_task
    assert why_not_scored(nn.Conv2d(3, 4, 1), segmentor, None) == 'it does not have a head'
