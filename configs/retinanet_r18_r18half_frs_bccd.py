_base_ = [
    '_base_/datasets/bccd.py',
    '_base_/distillers/retinanet_r18half_frs.py',
    '_base_/schedules/bccd_40_epochs.py',
    '_base_/detection_runtime.py',
]
model = dict(
    # Anchors from 16 pixels on: platelets are 15 to 27 pixels wide.
    student=dict(bbox_head=dict(num_classes=3, anchor_generator=dict(octave_base_scale=2))),
    teacher=dict(
        config='configs/teachers/retinanet_r18_bccd.py',
        checkpoint='work_dirs/retinanet_r18_bccd/best.pth',
    ),
    distill=dict(
        feature=dict(weight=0.005, schedule=dict(end=100)),
        head=dict(weight=0.02, schedule=dict(end=100)),
    ),
)
