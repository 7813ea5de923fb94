_base_ = [
    '../_base_/datasets/yolo_voc.py',
    '../_base_/models/yolo11_l.py',
    '../_base_/schedules/yolo_voc_100_epochs.py',
    '../_base_/yolo_runtime.py',
]
