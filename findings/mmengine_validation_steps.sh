#!/usr/bin/env bash
# onedl-mmengine 0.10.12: by default, a training by iterations logs all validations at one step.
#
#   PYTHON=... findings/mmengine_validation_steps.sh  a Python that has PyTorch and mmengine
#
# Documented: LoggerHook's log_metric_by_epoch, True by default, writes the metrics of a validation
# by epoch, and "can be true" in a training by epochs.
# Seen: the default also stands in IterBasedTrainLoop, where the number of the epoch stays 0. Three
# validations after 2, 4 and 6 iterations are logged at steps 0, 0, 0, while the losses have steps
# 1 to 6. Nothing warns. In TensorBoard the curve is a single point. The exit status is 1 if this
# changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m pip install --quiet --no-deps --target "$folder" onedl-mmengine==0.10.12
cd "$folder"
PYTHONPATH="$folder" "$python" -W ignore - <<'PYTHON'
import json
import sys
from pathlib import Path

import mmengine
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader


class Line(BaseModel):
    """Fit a line through the origin."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Linear(1, 1, bias=False)

    def forward(self, inputs, mode='tensor'):
        error = (self.slope(inputs) - 3 * inputs).square().mean()
        return dict(loss=error) if mode == 'loss' else [error]


class Error(BaseMetric):
    """Average the error over batches."""

    def process(self, data_batch, data_samples):
        self.results.append(float(data_samples[0]))

    def compute_metrics(self, results):
        return dict(error=sum(results) / len(results))


def images():
    data = [dict(inputs=torch.full((1,), float(i))) for i in range(4)]
    return DataLoader(data, batch_size=2)


Runner(
    model=Line(),
    work_dir='out',
    train_dataloader=images(),
    val_dataloader=images(),
    val_evaluator=[Error()],
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
    train_cfg=dict(by_epoch=False, max_iters=6, val_interval=2),
    val_cfg=dict(),
    default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
    log_level='ERROR',
).train()
(log,) = Path('out').glob('*/vis_data/scalars.json')
lines = [json.loads(line) for line in log.read_text().splitlines()]
trained = [line['step'] for line in lines if 'loss' in line]
validated = [line['step'] for line in lines if 'error' in line]
print('mmengine', mmengine.__version__)
print('steps of losses', trained, 'steps of validations', validated)
sys.exit(trained != [1, 2, 3, 4, 5, 6] or validated != [0, 0, 0])
PYTHON
