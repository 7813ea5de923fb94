_base_ = [
    '../_base_/datasets/yolo_bccd.py',
    '../_base_/models/yolo11_s.py',
    '../_base_/schedules/yolo_bccd_60_epochs.py',
    '../_base_/yolo_runtime.py',
]
model = dict(bbox_head=dict(num_classes=3))
