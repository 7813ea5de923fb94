#!/usr/bin/env bash
# onedl-mmdetection 3.5.1: BatchFixedSizePad gives an image another pad_shape, and so other valid
# anchors, by the size of the image beside it.
#
#   PYTHON=... findings/mmdet_batch_fixed_size_pad.sh     a Python with mmengine and compiled mmcv
#
# Expected: the augmentation pads every batch to one size, so that an image of 32x48 gets the same
# pad_shape in every batch, as it gets without the augmentation.
# Seen: where the batch has to grow, every image's pad_shape becomes the fixed size. Where an image
# fills that size already, nothing is written, and the small one keeps a pad_shape of its own. The
# heads take the anchors inside of pad_shape as valid: 96 or 32 for the same image, in inputs of the
# same size. The other 64 lie in the padding and train as background.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps onedl-mmdetection==3.5.1
"$python" -W ignore - <<'PYTHON'
import sys

import mmdet
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.models.task_modules import AnchorGenerator
from mmdet.structures import DetDataSample

padding = dict(type='mmdet.BatchFixedSizePad', size=(64, 96))
anchors = AnchorGenerator(strides=[8], ratios=[1.0], scales=[4])


def first_of(sizes, **settings):
    """Return the batch's size, and the pad_shape and valid anchors of its first image."""
    preprocess = DetDataPreprocessor(pad_size_divisor=32, **settings)
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in sizes]
    samples = [DetDataSample(metainfo=dict(img_shape=size)) for size in sizes]
    batch = preprocess(dict(inputs=images, data_samples=samples), training=True)
    shape = batch['data_samples'][0].pad_shape
    height, width = batch['inputs'].shape[-2:]
    (valid,) = anchors.valid_flags([(height // 8, width // 8)], shape, device='cpu')
    return (height, width), shape, int(valid.sum())


small, full = (32, 48), (64, 96)
seen = {
    'fixed size, beside a small image': first_of([small, small], batch_augments=[padding]),
    'fixed size, beside a full image': first_of([small, full], batch_augments=[padding]),
    'without, beside a full image': first_of([small, full]),
}
print('mmdet', mmdet.__version__, 'torch', torch.__version__)
for case, (size, shape, valid) in seen.items():
    print(f'{case}: inputs {size}, pad_shape {shape}, {valid} valid anchors')
sys.exit([shape for _, shape, _ in seen.values()] != [(64, 96), (32, 64), (32, 64)])
PYTHON
