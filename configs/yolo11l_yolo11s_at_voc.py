_base_ = [
    '_base_/datasets/yolo_voc.py',
    '_base_/distillers/yolo11_at.py',
    '_base_/schedules/yolo_voc_100_epochs.py',
    '_base_/yolo_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/yolo11l_voc.py', checkpoint='work_dirs/yolo11l_voc/best.pth'
    ),
)
