#!/usr/bin/env bash
# pycocotools 2.0.11: an object whose annotation has the id 0 counts as not found.
#
#   PYTHON=... findings/pycocotools_annotation_zero.sh     a Python with pip
#
# Expected: a detection that equals the only object has an average precision of 1, with any id of the
# annotation. COCO's format asks for an integer.
# Seen: 1.0 with the ids 1 and 7, 0.0 with the id 0. The evaluation stores the id of the object that
# a detection matches, and reads 0 as "none". Converters that number from 0 lose one object, and with
# it a share of the score, without a warning. The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" pycocotools==2.0.11
"$python" - <<'PYTHON'
import contextlib
import io
import sys
from importlib.metadata import version

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def average_precision(number):
    box = [10, 10, 40, 40]
    truth = COCO()
    truth.dataset = dict(
        info={},
        images=[dict(id=1, width=64, height=64)],
        categories=[dict(id=1, name='cell')],
        annotations=[
            dict(id=number, image_id=1, category_id=1, bbox=box, area=1600, iscrowd=0)
        ],
    )
    truth.createIndex()
    found = truth.loadRes([dict(image_id=1, category_id=1, bbox=box, score=0.9)])
    evaluation = COCOeval(truth, found, 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


with contextlib.redirect_stdout(io.StringIO()):
    scores = {number: round(average_precision(number), 3) for number in (0, 1, 7)}
print('pycocotools', version('pycocotools'), 'average precision by the id:', scores)
sys.exit(scores != {0: 0.0, 1: 1.0, 7: 1.0})
PYTHON
