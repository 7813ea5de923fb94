#!/usr/bin/env bash
# onedl-mmdetection 3.5.1: IoUBalancedNegSampler(floor_thr=-1) draws otherwise after its first call.
#
#   PYTHON=... findings/mmdet_iou_balanced_sampler.sh     a Python with mmengine and compiled mmcv
#
# Documented: floor_thr=-1 draws all negatives by IoU bins, those without overlap too.
# Seen: the first call sets floor_thr to 0. From the second call on, boxes without overlap are drawn
# only if those with one do not suffice: the same sampler on the same boxes draws others.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps onedl-mmdetection==3.5.1
"$python" -W ignore - <<'PYTHON'
import sys

import mmdet
import numpy as np
import torch
from mmdet.models.task_modules import AssignResult, IoUBalancedNegSampler

overlaps = torch.cat([torch.zeros(300), torch.linspace(0.05, 0.3, 60)])
boxes = AssignResult(1, torch.zeros(360, dtype=torch.long), overlaps, labels=None)
sampler = IoUBalancedNegSampler(num=60, pos_fraction=0.25, floor_thr=-1)
without = []
for _ in range(3):
    np.random.seed(0)
    torch.manual_seed(0)
    drawn = sampler._sample_neg(boxes, num_expected=60)
    without.append(int((overlaps[drawn] == 0).sum()))
print('mmdet', mmdet.__version__)
print(f'of 60 boxes drawn, without overlap: {without}; floor_thr is now {sampler.floor_thr}')
sys.exit(sampler.floor_thr == -1 or not without[0] or any(without[1:]))
PYTHON
