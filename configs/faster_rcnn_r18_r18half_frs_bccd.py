_base_ = [
    '_base_/datasets/bccd.py',
    '_base_/distillers/faster_rcnn_r18half_frs.py',
    '_base_/schedules/bccd_40_epochs.py',
    '_base_/detection_runtime.py',
]
model = dict(
    # Anchors from 16 pixels on: platelets are 15 to 27 pixels wide.
    student=dict(
        rpn_head=dict(anchor_generator=dict(scales=[4])),
        roi_head=dict(bbox_head=dict(num_classes=3)),
    ),
    teacher=dict(
        config='configs/teachers/faster_rcnn_r18_bccd.py',
        checkpoint='work_dirs/faster_rcnn_r18_bccd/best.pth',
    ),
    distill=dict(
        feature=dict(weight=0.002, schedule=dict(end=100)),
        head=dict(weight=0.1, schedule=dict(end=100)),
    ),
)
