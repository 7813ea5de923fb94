_base_ = [
    '../_base_/datasets/streets_detection.py',
    '../_base_/models/faster_rcnn_r18half.py',
    '../_base_/schedules/detection_quick.py',
    '../_base_/detection_runtime.py',
]
