#!/usr/bin/env bash
# torchvision 0.26.0: a flip and a rotation that give the same image give other key points.
#
#   PYTHON=... findings/torchvision_keypoint_flips.sh     a Python with torch 2.11
#
# A rotation by 180 degrees is a horizontal and a vertical flip: all pixels and boxes are equal.
# Expected: KeyPoints are equal too, and the corners of a box, as points of a polygon, stay corners.
# Seen: flips map x to W - 1 - x, as for numbers of pixels. Rotations, affine and perspective maps,
# resize, and all that moves boxes use W - x, as for places between pixels. After the two flips, the
# corners lie one pixel up and left of the box. Nothing in the documentation of KeyPoints says which of
# the two a coordinate is. The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps torchvision==0.26.0
"$python" -W ignore - <<'PYTHON'
import sys

import torch
import torchvision
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

size = (40, 60)
left, top, right, bottom = 10, 5, 30, 20
image = torch.zeros(1, *size)
image[:, top:bottom, left:right] = 1
image = tv_tensors.Image(image)
box = tv_tensors.BoundingBoxes(
    [[left, top, right, bottom]], format='XYXY', canvas_size=size, dtype=torch.float32
)
corners = tv_tensors.KeyPoints(
    [[left, top], [right, bottom]], canvas_size=size, dtype=torch.float32
)


def flips(value):
    return F.vertical_flip(F.horizontal_flip(value))


def rotation(value):
    return F.rotate(value, 180)


def affine(value):
    return F.affine(value, 180, translate=[0, 0], scale=1.0, shear=[0.0, 0.0])


print('torchvision', torchvision.__version__, 'torch', torch.__version__)
seen = {}
for change in (flips, rotation, affine):
    same = torch.equal(change(image), flips(image))
    placed = change(box).round().flatten().tolist()
    points = change(corners).round().tolist()
    seen[change.__name__] = (same, placed, points)
    print(f'{change.__name__}: pixels as of the flips {same}, box {placed}, its corners {points}')
moved = [30.0, 20.0, 50.0, 35.0]
expected = (True, moved, [[50.0, 35.0], [30.0, 20.0]])
wrong = (True, moved, [[49.0, 34.0], [29.0, 19.0]])
sys.exit(seen != dict(flips=wrong, rotation=expected, affine=expected))
PYTHON
