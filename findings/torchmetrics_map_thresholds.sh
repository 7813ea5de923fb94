#!/usr/bin/env bash
# torchmetrics 1.9.0: MeanAveragePrecision gives another AP than pycocotools, which it calls.
#
#   PYTHON=... findings/torchmetrics_map_thresholds.sh     a Python with torch and torchvision
#
# Documented: backend="pycocotools", IoUs 0.5 to 0.95 in steps of 0.05, recalls 0 to 1 in steps of
# 0.01. Expected: the AP of COCOeval on the same boxes.
# Seen: the default thresholds are float32. 0.6 and 0.8 are 0.6000000238 and 0.8000000119 there,
# which an IoU or a recall of exactly 0.6 or 0.8 does not reach; 0.7 is 0.6999999881. A box with an IoU
# of 0.8 has an AP of 0.6, not 0.7; a detector that finds six of ten objects has 0.594, not 0.604.
# With the same thresholds as lists of float64, both agree.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps torchmetrics==1.9.0 lightning-utilities==0.15.3 \
    pycocotools==2.0.11
"$python" -W ignore - <<'PYTHON'
import contextlib
import io
import sys

import numpy as np
import torch
import torchmetrics
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision


def by_pycocotools(truth, found):
    """Return the AP of boxes (x, y, w, h), the first of `found` with the highest score."""
    coco = COCO()
    common = dict(image_id=1, category_id=1)
    coco.dataset = dict(
        info={},
        images=[dict(id=1, width=400, height=40)],
        categories=[dict(id=1, name='cell')],
        annotations=[
            dict(common, id=i + 1, bbox=box, area=box[2] * box[3], iscrowd=0)
            for i, box in enumerate(truth)
        ],
    )
    coco.createIndex()
    results = [dict(common, bbox=box, score=0.9 - i / 100) for i, box in enumerate(found)]
    evaluation = COCOeval(coco, coco.loadRes(results), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


def by_torchmetrics(truth, found, **thresholds):
    metric = MeanAveragePrecision(box_format='xywh', backend='pycocotools', **thresholds)
    labels = [torch.ones(len(boxes), dtype=torch.long) for boxes in (truth, found)]
    scores = 0.9 - torch.arange(len(found)) / 100
    metric.update(
        [dict(boxes=torch.tensor(found), scores=scores, labels=labels[1])],
        [dict(boxes=torch.tensor(truth), labels=labels[0])],
    )
    return float(metric.compute()['map'])


ten = [[40.0 * i, 0.0, 20.0, 20.0] for i in range(10)]
cases = {
    'one box, IoU 0.8': (ten[:1], [[0.0, 0.0, 20.0, 16.0]]),
    'six of ten objects': (ten, ten[:6]),
}
exact = dict(
    iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
    rec_thresholds=np.linspace(0, 1, 101).tolist(),
)
print('torchmetrics', torchmetrics.__version__, 'torch', torch.__version__)
seen = []
for name, boxes in cases.items():
    with contextlib.redirect_stdout(io.StringIO()):
        values = by_pycocotools(*boxes), by_torchmetrics(*boxes), by_torchmetrics(*boxes, **exact)
    seen.append([round(value, 3) for value in values])
    print(f'{name}: pycocotools, torchmetrics, torchmetrics with float64 thresholds:', seen[-1])
sys.exit(seen != [[0.7, 0.6, 0.7], [0.604, 0.594, 0.604]])
PYTHON
