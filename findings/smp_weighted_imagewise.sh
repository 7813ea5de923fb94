#!/usr/bin/env bash
# segmentation-models-pytorch 0.6.0: reduction="weighted-imagewise" divides a score by the number of
# classes.
#
#   PYTHON=... findings/smp_weighted_imagewise.sh     a Python with torch, torchvision and timm
#
# Documented: it computes a score for each image and class, then the weighted average over the
# classes and the mean over the images. Expected: 1 for a prediction that equals the labels.
# Seen: 1/3 with three classes, 1/19 with nineteen, for every metric. The weights are made to sum to
# 1, and then the mean over the classes is taken where a sum is due. "weighted" gives 1.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps segmentation-models-pytorch==0.6.0
"$python" -W ignore - <<'PYTHON'
import sys

import segmentation_models_pytorch as smp
import torch

print('segmentation-models-pytorch', smp.__version__, 'torch', torch.__version__)
seen = {}
for classes in (3, 19):
    labels = torch.arange(classes).repeat(2, 4).view(2, 4, classes)
    counts = smp.metrics.get_stats(labels, labels, mode='multiclass', num_classes=classes)
    weights = [1.0 + i for i in range(classes)]
    for metric in (smp.metrics.iou_score, smp.metrics.f1_score, smp.metrics.accuracy):
        for reduction in ('weighted', 'macro-imagewise', 'weighted-imagewise'):
            given = weights if reduction.startswith('weighted') else None
            value = float(metric(*counts, reduction=reduction, class_weights=given))
            seen[classes, metric.__name__, reduction] = value
            print(f'{classes} classes, {metric.__name__}, {reduction}: {value:.4f}')
sys.exit(
    any(
        abs(value - (1 / classes if reduction == 'weighted-imagewise' else 1)) > 1e-5
        for (classes, _, reduction), value in seen.items()
    )
)
PYTHON
