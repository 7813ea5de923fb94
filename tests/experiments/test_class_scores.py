import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmkd.experiments.class_scores import _class_evaluator
from mmkd.registry import METRICS

CLASSES = ('sky', 'road', 'car')


def scores(metric: dict) -> dict[str, float]:
    g = torch.Generator().manual_seed(0)
    answer, label = torch.randint(0, 3, (2, 1, 9, 7), generator=g)
    sample = SegDataSample(
        pred_sem_seg=PixelData(data=answer), gt_sem_seg=PixelData(data=label)
    ).to_dict()
    built = METRICS.build(metric)
    built.dataset_meta = dict(classes=CLASSES)
    built.process({}, [sample])
    return built.evaluate(1)


@pytest.mark.parametrize('own', [dict(), dict(ignore_index=1), dict(ignore_index=1, nan_to_num=0)])
@pytest.mark.parametrize('kind', ['one', 'list', 'datasets'])
def test_classes_have_the_pixels_of_the_score(own, kind):
    metric = dict(type='mmkd.ExactIoUMetric', iou_metrics=['mIoU'], prefix='val', **own)
    evaluator = {
        'one': metric,
        'list': [dict(type='X'), metric],
        'datasets': dict(type='X', metrics=[metric], dataset_prefixes=['val']),
    }[kind]
    found = _class_evaluator(evaluator)
    found = found['metrics'][0] if kind == 'datasets' else found
    by_class = scores(found)
    assert list(by_class) == list(CLASSES)
    mean = np.nanmean(list(by_class.values()))
    assert mean == pytest.approx(scores(metric)['val/mIoU'], abs=0.01)
