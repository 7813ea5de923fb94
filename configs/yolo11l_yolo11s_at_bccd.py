_base_ = [
    '_base_/datasets/yolo_bccd.py',
    '_base_/distillers/yolo11_at.py',
    '_base_/schedules/yolo_bccd_60_epochs.py',
    '_base_/yolo_runtime.py',
]
model = dict(
    student=dict(bbox_head=dict(num_classes=3)),
    teacher=dict(
        config='configs/teachers/yolo11l_bccd.py', checkpoint='work_dirs/yolo11l_bccd/best.pth'
    ),
)
