#!/usr/bin/env bash
# AlbumentationsX 2.5.1: Affine(fit_output=True) puts boxes one pixel beside the image.
#
#   PYTHON=... findings/albumentationsx_fit_output.sh     a Python with torch
#
# Documented: fit_output changes the size and position of the output so that it holds the whole image.
# Expected: a box encloses the object that it enclosed before, as it does without fit_output; a
# rotation by 90 degrees makes 96x64 of 64x96.
# Seen: the output is 97x66. The image and its mask begin at (1, 1), boxes as if they began at (0, 0):
# the box of a rectangle is one pixel up and left of it, also with a scale of 0.5, where an object has
# half its size. With a scale of 1, boxes are scaled by 97/96 and the image is not.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" 'albumentationsx[headless]==2.5.1'
NO_ALBUMENTATIONS_UPDATE=1 "$python" -W ignore - <<'PYTHON'
import sys

import albumentations as A
import numpy as np

mask = np.zeros((64, 96), np.uint8)
mask[10:34, 20:60] = 1
image = np.repeat(mask[..., None] * 255, 3, axis=2)


def place(change):
    """Return the size of the output, the edges of its rectangle, and those of its box."""
    pipeline = A.Compose(
        [change], bbox_params=A.BboxParams(coord_format='pascal_voc', label_fields=['labels'])
    )
    out = pipeline(image=image, mask=mask, bboxes=[[20, 10, 60, 34]], labels=[1])
    rows, columns = np.nonzero(out['image'][..., 0] > 127)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    box = [round(float(value), 1) for value in out['bboxes'][0]]
    return out['image'].shape[:2], [int(edge) for edge in edges], box


print('albumentationsx', A.__version__)
seen = {}
for name, settings in (
    ('rotation', dict(rotate=(90, 90))),
    ('scale', dict(scale=(0.5, 0.5))),
    ('nothing', dict(scale=(1, 1))),
):
    for fit in (False, True):
        seen[name, fit] = place(A.Affine(p=1, fit_output=fit, **settings))
        print(f'{name}, fit_output={fit}: size, rectangle, box {seen[name, fit]}')
beside = {
    ('rotation', True): ((97, 66), [11, 37, 35, 77], [10.0, 36.0, 34.0, 76.0]),
    ('scale', True): ((34, 50), [11, 6, 31, 18], [10.0, 5.0, 30.0, 17.0]),
    ('nothing', True): ((65, 97), [20, 10, 60, 34], [20.2, 10.2, 60.6, 34.5]),
}
right = all(edges == box for (_, fit), (_, edges, box) in seen.items() if not fit)
sys.exit(not right or any(seen[case] != value for case, value in beside.items()))
PYTHON
