_base_ = [
    '../_base_/datasets/yolo_streets.py',
    '../_base_/models/yolox_tiny.py',
    '../_base_/schedules/yolo_quick.py',
    '../_base_/yolo_runtime.py',
]
