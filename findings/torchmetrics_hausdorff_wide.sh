#!/usr/bin/env bash
# torchmetrics 1.9.0: HausdorffDistance is wrong on every image that is wider than high.
#
#   PYTHON=... findings/torchmetrics_hausdorff_wide.sh     a Python with torch, torchvision and scipy
#
# Expected: a mask has the distance 0 to itself. Two boxes of which one is 3 columns wider have the
# distance 3. The size of the image around them does not matter; scipy's directed_hausdorff says the
# same.
# Seen: this holds in an image of 16x16 (height x width). In 16x24 the distances are 15 and 15, in
# 64x128 they are 55 and 55.08: a mask does not equal itself. Nothing warns. The default engine of
# distance_transform writes the distance of pixel (i, j) to place i * height + j of a flat image, where
# i * width + j is due. engine="scipy" is right, but the metric cannot choose it.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps torchmetrics==1.9.0 lightning-utilities==0.15.3
"$python" -W ignore - <<'PYTHON'
import sys

import torch
import torchmetrics
from scipy.spatial.distance import directed_hausdorff
from torchmetrics.functional.segmentation.utils import distance_transform
from torchmetrics.segmentation import HausdorffDistance


def by_torchmetrics(first, second):
    metric = HausdorffDistance(num_classes=2, input_format='index')
    return float(metric(first[None], second[None]))


def by_scipy(first, second):
    """Return the largest distance from a pixel of one mask to the other mask."""
    points = first.nonzero().numpy(), second.nonzero().numpy()
    return max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])


print('torchmetrics', torchmetrics.__version__, 'torch', torch.__version__)
seen = {}
for size in ((16, 16), (16, 24), (64, 128)):
    truth = torch.zeros(size, dtype=torch.long)
    truth[4:10, 4:10] = 1
    wider = truth.clone()
    wider[4:10, 10:13] = 1
    for name, found in (('itself', truth), ('a wider mask', wider)):
        seen[size, name] = [round(f(found, truth), 2) for f in (by_scipy, by_torchmetrics)]
        print(f'{size[0]}x{size[1]}, {name}: scipy, torchmetrics {seen[size, name]}')
column = torch.ones(3, 5)
column[:, 0] = 0
distances = {
    engine: torch.as_tensor(distance_transform(column, engine=engine)).tolist()
    for engine in ('scipy', 'pytorch')
}
for engine, rows in distances.items():
    print(f'distances to the first column, {engine}: {rows}')
expected = {
    ((16, 16), 'itself'): [0, 0],
    ((16, 16), 'a wider mask'): [3, 3],
    ((16, 24), 'itself'): [0, 15],
    ((16, 24), 'a wider mask'): [3, 15],
    ((64, 128), 'itself'): [0, 55],
    ((64, 128), 'a wider mask'): [3, 55.08],
}
wrong = [[0, 1, 2, 3, 1], [2, 3, 1, 2, 3], [4, 0, 0, 0, 0]]
right = [[0, 1, 2, 3, 4]] * 3
sys.exit(seen != expected or distances != dict(scipy=right, pytorch=wrong))
PYTHON
