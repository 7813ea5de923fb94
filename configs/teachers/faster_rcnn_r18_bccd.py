_base_ = [
    '../_base_/datasets/bccd.py',
    '../_base_/models/faster_rcnn_r18.py',
    '../_base_/schedules/bccd_40_epochs.py',
    '../_base_/detection_runtime.py',
]
# Anchors from 16 pixels on: platelets are 15 to 27 pixels wide.
model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    roi_head=dict(bbox_head=dict(num_classes=3)),
)
