# YOLO11n under the class scores and box distributions of a YOLO11s.
_base_ = [
    '_base_/datasets/yolo_bccd.py',
    '_base_/distillers/yolo11_ld.py',
    '_base_/schedules/yolo_bccd_60_epochs.py',
    '_base_/yolo_runtime.py',
]
model = dict(
    student=dict(
        backbone=dict(scale='n'), neck=dict(scale='n'), bbox_head=dict(scale='n', num_classes=3)
    ),
    teacher=dict(
        config='configs/teachers/yolo11s_bccd.py', checkpoint='work_dirs/yolo11s_bccd/best.pth'
    ),
)
