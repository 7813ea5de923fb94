#!/usr/bin/env bash
# onedl-mmengine 0.10.12 with onedl-mmdetection 3.5.1: one validation without a detection ends a
# training, if CocoMetric is not the only metric.
#
#   PYTHON=... findings/mmengine_save_best_missing.sh     a Python with torch and mmcv
#
# Expected: a detector that does not find anything yet, as in its first epochs, goes on training. With
# CocoMetric alone it does: the metric reports nothing, and CheckpointHook then warns and keeps no
# best checkpoint.
# Seen: with a second metric beside it, which reports its value, CheckpointHook(save_best=
# 'coco/bbox_mAP') looks for a key that this validation does not have. The training ends with
# KeyError: 'coco/bbox_mAP'. The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps onedl-mmengine==0.10.12 onedl-mmdetection==3.5.1
cd "$folder"
"$python" -W ignore - <<'PYTHON'
import json
import sys
from pathlib import Path

import mmdet
import mmengine
import torch
from mmdet.evaluation import CocoMetric
from mmdet.structures import DetDataSample
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader, Dataset

Path('boxes.json').write_text(
    json.dumps(
        dict(
            images=[dict(id=0, file_name='0.jpg', height=8, width=8)],
            annotations=[dict(id=1, image_id=0, category_id=1, bbox=[1, 1, 4, 4], area=16, iscrowd=0)],
            categories=[dict(id=1, name='cell')],
        )
    )
)


class Images(Dataset):
    """One image."""

    metainfo = dict(classes=('cell',))

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return dict(inputs=torch.ones(1))


class Blind(BaseModel):
    """Find nothing."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        if mode == 'loss':
            return dict(loss=self.layer(inputs).sum())
        nothing = InstanceData(
            bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long)
        )
        return [DetDataSample(metainfo=dict(img_id=0, ori_shape=(8, 8)), pred_instances=nothing)]


class Count(BaseMetric):
    """Count the images."""

    default_prefix = 'images'

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(number=len(results))


def train(name, metrics):
    try:
        Runner(
            model=Blind(),
            work_dir=name,
            train_dataloader=DataLoader(Images()),
            val_dataloader=DataLoader(Images()),
            val_evaluator=metrics,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            val_cfg=dict(),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', save_best='coco/bbox_mAP', rule='greater')
            ),
            experiment_name=name,
            log_level='ERROR',
        ).train()
    except KeyError as error:
        return f'KeyError {error}'
    return 'trained'


print('mmengine', mmengine.__version__, 'mmdet', mmdet.__version__)
alone = train('alone', [CocoMetric('boxes.json')])
beside = train('beside', [CocoMetric('boxes.json'), Count()])
print(f'CocoMetric alone: {alone}; with another metric: {beside}')
sys.exit((alone, beside) != ('trained', "KeyError 'coco/bbox_mAP'"))
PYTHON
