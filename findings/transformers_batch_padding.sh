#!/usr/bin/env bash
# transformers 5.23.0: the post-processing of detections and masks does not take away the padding that
# the same processor added to a batch.
#
#   PYTHON=... findings/transformers_batch_padding.sh     a Python with torch, torchvision and timm
#
# Expected: a network gives exactly the labels that an image processor made. The post-processing of that
# processor, with the sizes of the images as target_sizes, gives the original boxes and masks.
# Seen: this holds for one image. With two images, of 480x640 and 640x480, the processor pads both to
# one size, and the labels are those of the padded images. The post-processing stretches the padded
# image to the size of the image. A box of 200x150 becomes 200x112 in one image and 150x150 in the
# other, from the processors of four DETR models. An exact mask has an IoU of 0.6 and 0.54 with the
# original, from those of MaskFormer and Mask2Former. So the labels of an image depend on the images
# beside it. The original DETR keeps boxes relative to the image without its padding, as this
# post-processing does and these labels do not.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps transformers==5.23.0 tokenizers==0.23.3 \
    regex==2026.11.19
"$python" -W ignore - <<'PYTHON'
import sys
from types import SimpleNamespace

import numpy as np
import torch
import transformers

sizes = [(480, 640), (640, 480)]
images = [np.zeros((*size, 3), np.uint8) for size in sizes]
left, top, right, bottom = 100, 50, 300, 200
annotations = []
maps = []
for i, size in enumerate(sizes):
    box = [left, top, right - left, bottom - top]
    entry = dict(id=i, image_id=i, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0)
    annotations.append(dict(image_id=i, annotations=[entry]))
    maps.append(np.zeros(size, np.int64))
    maps[-1][top:bottom, left:right] = 1


def boxes_after(name, count):
    """Return the boxes of the first `count` images, from a network that gives the labels."""
    processor = getattr(transformers, name)()
    batch = processor(images[:count], annotations=annotations[:count], return_tensors='pt')
    logits = torch.full((count, 1, 3), -9.0)
    logits[..., 1] = 9
    boxes = torch.stack([labels['boxes'] for labels in batch['labels']])
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    results = processor.post_process_object_detection(outputs, target_sizes=sizes[:count])
    return [[round(value) for value in result['boxes'][0].tolist()] for result in results]


def overlaps(name, count):
    """Return the IoU of the masks of the first `count` images."""
    processor = getattr(transformers, name)()
    batch = processor(images[:count], segmentation_maps=maps[:count], return_tensors='pt')
    classes = torch.full((count, 2, 3), -20.0)
    classes[:, [0, 1], [0, 1]] = 20
    outputs = SimpleNamespace(
        class_queries_logits=classes,
        masks_queries_logits=40 * torch.stack(list(batch['mask_labels'])) - 20,
    )
    results = processor.post_process_semantic_segmentation(outputs, target_sizes=sizes[:count])
    pairs = [(result.numpy() == 1, truth == 1) for result, truth in zip(results, maps)]
    return [round(float((a & b).sum() / (a | b).sum()), 2) for a, b in pairs]


print('transformers', transformers.__version__, 'torch', torch.__version__)
seen = {}
for name in ('Detr', 'ConditionalDetr', 'DeformableDetr', 'GroundingDino'):
    seen[name] = [boxes_after(f'{name}ImageProcessor', count) for count in (1, 2)]
    print(f'{name}: box of one image {seen[name][0]}, of two {seen[name][1]}')
for name in ('MaskFormer', 'Mask2Former'):
    seen[name] = [overlaps(f'{name}ImageProcessor', count) for count in (1, 2)]
    print(f'{name}: IoU of one image {seen[name][0]}, of two {seen[name][1]}')
one = [left, top, right, bottom]
moved = [[100, 38, 300, 150], [75, 50, 225, 200]]
expected = {
    name: [[one], moved] for name in ('Detr', 'ConditionalDetr', 'DeformableDetr', 'GroundingDino')
}
expected |= dict(MaskFormer=[[1], [0.6, 0.54]], Mask2Former=[[1], [0.59, 0.53]])
sys.exit(seen != expected)
PYTHON
