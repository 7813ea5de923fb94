_base_ = [
    '../_base_/datasets/yolo_streets.py',
    '../_base_/models/yolo11_m.py',
    '../_base_/schedules/yolo_quick.py',
    '../_base_/yolo_runtime.py',
]
model = dict(bbox_head=dict(num_classes=4))
