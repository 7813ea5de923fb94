#!/usr/bin/env bash
# onedl-mmsegmentation 1.4.2: SegDataPreProcessor writes pad_shape=None for an image without a label
# map, and takes the image's own pad_shape away.
#
#   PYTHON=... findings/mmseg_pad_shape_none.sh     a Python with torch, mmengine and mmcv
#
# Expected: in a batch for training that is padded to 64x96, every sample has the pad_shape (64, 96).
# With two images of 48x80, one of them without labels, as in semi-supervised training, both are
# padded alike.
# Seen: the labelled sample has (64, 96). The other one has None, also where its pipeline had written
# a pad_shape before. Mask2FormerHead.predict takes pad_shape as the size of its masks where the key
# exists, so it ends in an error when a teacher predicts for such a batch.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps onedl-mmsegmentation==1.4.2
"$python" -W ignore - <<'PYTHON'
import sys

import mmseg
import torch
from mmengine.structures import PixelData
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.structures import SegDataSample

preprocess = SegDataPreProcessor(size=(64, 96), pad_val=0, seg_pad_val=255)


def sample(labelled):
    made = SegDataSample(metainfo=dict(img_shape=(48, 80), pad_shape=(48, 80)))
    if labelled:
        made.gt_sem_seg = PixelData(data=torch.zeros(1, 48, 80, dtype=torch.int64))
    return made


images = [torch.zeros(3, 48, 80, dtype=torch.uint8) for _ in range(2)]
batch = preprocess(dict(inputs=images, data_samples=[sample(True), sample(False)]), training=True)
size = tuple(batch['inputs'].shape[-2:])
labelled, unlabelled = (one.pad_shape for one in batch['data_samples'])
print('mmseg', mmseg.__version__, 'torch', torch.__version__)
print(f'batch {size}: pad_shape {labelled} with labels, {unlabelled} without')
sys.exit((size, labelled, unlabelled) != ((64, 96), (64, 96), None))
PYTHON
