_base_ = [
    '../_base_/datasets/bccd.py',
    '../_base_/models/retinanet_r18half.py',
    '../_base_/schedules/bccd_40_epochs.py',
    '../_base_/detection_runtime.py',
]
# Anchors from 16 pixels on: platelets are 15 to 27 pixels wide.
model = dict(bbox_head=dict(num_classes=3, anchor_generator=dict(octave_base_scale=2)))
