#!/usr/bin/env bash
# torchmetrics 1.9.0: the generalized Dice score of an image depends on the images beside it, and on
# its place among them.
#
#   PYTHON=... findings/torchmetrics_generalized_dice_order.sh     a Python with torch and torchvision
#
# Documented: generalized_dice_score() gives one score for each image, with the weight 1 / n^2 for a
# class of n labelled pixels. Expected: the score of an image is the same in every batch.
# Seen: one image has 0.8 alone, 0.444 before another image and 0.735 after it. A class that is not in
# the labels would have an infinite weight. It takes the largest weight of the batch instead, 0 if no
# image has the class. In a batch these weights are then read in the wrong order, so that it takes that
# of another class. GeneralizedDiceScore does the same, so the size of the batches and the order of the
# images change the value of a data set. The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps torchmetrics==1.9.0 lightning-utilities==0.15.3
"$python" -W ignore - <<'PYTHON'
import sys

import torch
import torchmetrics
from torchmetrics.functional.segmentation import generalized_dice_score
from torchmetrics.segmentation import GeneralizedDiceScore

settings = dict(num_classes=3, input_format='index')
# (prediction, labels) of two images: the first one without class 2, which the prediction has once
images = {
    'first': torch.tensor([[[0, 0, 0, 0, 1, 2]], [[0, 0, 0, 0, 1, 1]]]),
    'second': torch.tensor([[[0, 0, 2, 2, 2, 1]], [[0, 0, 2, 2, 2, 1]]]),
}


def scores(*names):
    """Return the score of each image of one batch."""
    predictions, labels = torch.stack([images[name] for name in names], dim=1)
    values = generalized_dice_score(predictions, labels, **settings)
    return {name: round(float(value), 3) for name, value in zip(names, values)}


def of_data_set(*batches):
    metric = GeneralizedDiceScore(**settings)
    for names in batches:
        metric.update(*torch.stack([images[name] for name in names], dim=1))
    return round(float(metric.compute()), 3)


print('torchmetrics', torchmetrics.__version__, 'torch', torch.__version__)
orders = (('first',), ('second',), ('first', 'second'), ('second', 'first'))
seen = []
for names in orders:
    seen.append(scores(*names))
    print('scores of one batch:', seen[-1])
values = [of_data_set(('first',), ('second',))]
values += [of_data_set(names) for names in orders[2:]]
print('score of both: as two batches, as one, as one in the other order:', values)
expected = [
    dict(first=0.8),
    dict(second=1.0),
    dict(first=0.444, second=1.0),
    dict(second=1.0, first=0.735),
]
sys.exit(seen != expected or values != [0.9, 0.722, 0.867])
PYTHON
