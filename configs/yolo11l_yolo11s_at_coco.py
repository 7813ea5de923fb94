_base_ = [
    '_base_/datasets/yolo_coco.py',
    '_base_/distillers/yolo11_at.py',
    '_base_/schedules/yolo_coco_100_epochs.py',
    '_base_/yolo_runtime.py',
]
model = dict(
    student=dict(bbox_head=dict(num_classes=80)),
    teacher=dict(
        config='configs/teachers/yolo11l_coco.py', checkpoint='work_dirs/yolo11l_coco/best.pth'
    ),
)
