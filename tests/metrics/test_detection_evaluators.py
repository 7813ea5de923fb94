"""The evaluators of the detection configs, on cases whose AP is known by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS

from mmkd.config.load import load_config

STUDENTS = Path(__file__).resolve().parents[2] / 'configs/students'


def evaluators(name: str) -> list[dict]:
    config = load_config(str(STUDENTS / f'{name}.py')).val_evaluator
    return config if isinstance(config, list) else [config]


def score(config: dict, found: np.ndarray, objects: np.ndarray) -> dict:
    """Evaluate one image: ``found`` boxes in order of falling score, all of the only class."""
    config = {key: value for key, value in config.items() if key != 'ann_file'}
    metric = METRICS.build(dict(config, type=f'mmdet.{config["type"]}'))
    metric.dataset_meta = dict(classes=('cell',), dataset_type='VOC2012')
    instances = [dict(bbox=box, bbox_label=0, ignore_flag=0) for box in objects.tolist()]
    sample = dict(
        img_id=0,
        ori_shape=(2000, 2000),
        pred_instances=dict(
            bboxes=torch.tensor(found, dtype=torch.float32),
            scores=torch.linspace(0.9, 0.1, len(found)),
            labels=torch.zeros(len(found), dtype=torch.long),
        ),
        instances=instances,
        gt_instances=dict(
            bboxes=torch.tensor(objects, dtype=torch.float32),
            labels=torch.zeros(len(objects), dtype=torch.long),
        ),
        ignored_instances=dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)),
    )
    metric.process({}, [sample])
    return metric.evaluate(1)


def boxes(count: int) -> np.ndarray:
    """Return squares that do not touch, in rows of 20."""
    row, column = np.divmod(np.arange(count), 20)
    corners = 50.0 * np.stack([column, row], axis=1)
    return np.hstack([corners, corners + 40])


@pytest.mark.parametrize('name', ['yolo11n_bccd', 'yolo11s_streets', 'yolo11s_voc', 'yolo11s_coco'])
def test_coco_metric_of_150_found_objects_counts_100_for_map_and_ap50(name):
    coco = next(c for c in evaluators(name) if c['type'] == 'CocoMetric')
    result = score(coco, boxes(150), boxes(150))
    # Precision is 1 up to a recall of 100/150: at 67 of the 101 recalls 0, 0.01, ..., 1.
    assert result['coco/bbox_mAP'] == pytest.approx(67 / 101, abs=1e-3)
    assert result['coco/bbox_mAP_50'] == result['coco/bbox_mAP']


def test_voc_metric_of_three_in_ten_objects_is_the_area_0_3():
    voc = next(c for c in evaluators('yolo11s_voc') if c['type'] == 'VOCMetric')
    assert score(voc, boxes(3), boxes(10))['pascal_voc/mAP'] == pytest.approx(0.3, abs=1e-3)
    eleven = score(dict(voc, eval_mode='11points'), boxes(3), boxes(10))
    assert eleven['pascal_voc/mAP'] == pytest.approx(3 / 11, abs=1e-3)  # and not 4/11
