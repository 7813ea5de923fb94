"""What a teacher predicts of the data of its student, and why it does not get a score."""

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from mmkd.config.load import load_config
from mmkd.distillation.teacher_inputs import TeacherInputs
from mmkd.engine.teacher_score import predict_as_teacher, why_not_scored
from mmkd.openmmlab.samples import blank_samples
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


@pytest.mark.parametrize('kind', ['segmentor', 'detector'])
def test_predict_as_teacher_is_the_prediction_of_the_enlarged_image(kind, request):
    network = request.getfixturevalue(kind).eval()
    image = 255 * torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(image[None], scale_factor=2, mode='bilinear')[0]
    (small_sample,), (large_sample,) = (blank_samples(network, (64, 64)) for _ in range(2))
    # The sample of an image that the pipeline has enlarged itself.
    shape = dict(img_shape=(128, 128), pad_shape=(128, 128), batch_input_shape=(128, 128))
    large_sample.set_metainfo(dict(shape, scale_factor=(2.0, 2.0)))
    inputs = TeacherInputs(None, None, scale=2.0)
    with torch.no_grad():
        found = predict_as_teacher(
            network, inputs, dict(inputs=[image], data_samples=[small_sample])
        )[0]
        expected = network.val_step(dict(inputs=[large], data_samples=[large_sample]))[0]
    if kind == 'segmentor':
        assert found.seg_logits.data.shape == (11, 64, 64)
        torch.testing.assert_close(found.seg_logits.data, expected.seg_logits.data)
    else:
        assert len(found.pred_instances) > 0
        boxes = (one.pred_instances.bboxes for one in (found, expected))
        torch.testing.assert_close(*boxes, rtol=0, atol=1e-3)  # pixels
