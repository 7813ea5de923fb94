_base_ = [
    '../_base_/datasets/yolo_coco.py',
    '../_base_/models/yolo11_l.py',
    '../_base_/schedules/yolo_coco_100_epochs.py',
    '../_base_/yolo_runtime.py',
]
model = dict(bbox_head=dict(num_classes=80))
