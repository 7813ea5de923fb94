#!/usr/bin/env bash
# MONAI 1.6.1: MeanIoU and ConfusionMatrixMetric count the pixels that ignore_index excludes.
#
#   PYTHON=... findings/monai_mean_iou_ignore.sh     a Python with torch and scipy
#
# Documented for every metric with this key: pixels with this label are excluded from the score.
# Expected: a prediction that is right on all other pixels has an IoU of 1, a Dice of 1 and a distance
# of 0, for ignore_index=2 as one of three classes, and for 255 with labels that have no channel there.
# Seen: with 255 all metrics say so. With ignore_index=2, DiceMetric, GeneralizedDiceScore and
# HausdorffDistanceMetric do, but MeanIoU is 0.6 and the F1 of ConfusionMatrixMetric 0.75: the values
# without the key. They set the channel of class 2 to 0 and keep its pixels. What the network says
# there is a false positive of the other classes. A Dice of 1 stands beside an IoU of 0.6.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps monai==1.6.1
"$python" -W ignore - <<'PYTHON'
import sys

import monai
import torch
from monai import metrics


def one_hot(row):
    return torch.nn.functional.one_hot(torch.tensor([[row]]), 3).permute(0, 3, 1, 2).float()


labels = one_hot([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
found = one_hot([0, 0, 0, 1, 1, 1, 1, 1, 0, 0])
without_channel = labels.clone()
without_channel[:, 2] = 0

print('monai', monai.__version__, 'torch', torch.__version__)
seen = {}
for name, kind, settings in (
    ('DiceMetric', metrics.DiceMetric, {}),
    ('GeneralizedDiceScore', metrics.GeneralizedDiceScore, {}),
    ('HausdorffDistanceMetric', metrics.HausdorffDistanceMetric, dict(include_background=True)),
    ('MeanIoU', metrics.MeanIoU, {}),
    ('ConfusionMatrixMetric', metrics.ConfusionMatrixMetric, dict(metric_name='f1 score')),
):
    values = []
    for ignored, truth in ((None, labels), (2, labels), (255, without_channel)):
        metric = kind(ignore_index=ignored, reduction='none', **settings)
        metric(found, truth)
        value = metric.aggregate()
        value = value[0] if isinstance(value, list) else value
        values.append([round(number, 2) for number in value[0, :2].tolist()])
    seen[name] = values
    print(f'{name} of classes 0 and 1: without the key, with 2, with 255: {values}')
expected = {
    'DiceMetric': [[0.75] * 2, [1] * 2, [1] * 2],
    'GeneralizedDiceScore': [[0.75] * 2, [1] * 2, [1] * 2],
    'HausdorffDistanceMetric': [[7, 2], [0] * 2, [0] * 2],
    'MeanIoU': [[0.6] * 2, [0.6] * 2, [1] * 2],
    'ConfusionMatrixMetric': [[0.75] * 2, [0.75] * 2, [1] * 2],
}
sys.exit(seen != expected)
PYTHON
