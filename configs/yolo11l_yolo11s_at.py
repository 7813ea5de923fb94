_base_ = [
    '_base_/datasets/yolo_streets.py',
    '_base_/distillers/yolo11_at.py',
    '_base_/schedules/yolo_quick.py',
    '_base_/yolo_runtime.py',
]
model = dict(
    student=dict(bbox_head=dict(num_classes=4)),
    teacher=dict(
        config='configs/teachers/yolo11l_streets.py',
        checkpoint='work_dirs/yolo11l_streets/best.pth',
    ),
)
