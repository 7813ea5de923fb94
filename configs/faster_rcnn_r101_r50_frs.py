_base_ = [
    '_base_/datasets/coco_detection.py',
    '_base_/distillers/faster_rcnn_r50_frs.py',
    '_base_/schedules/detection_180k.py',
    '_base_/detection_runtime.py',
]
model = dict(
    teacher=dict(
        config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r101_fpn_2x_coco/faster_rcnn_r101_fpn_2x_coco_bbox_mAP-0.398_20200504_210455-1d2dac9c.pth',
    ),
    distill=dict(feature=dict(weight=0.002), head=dict(weight=0.1)),
)
default_hooks = dict(checkpoint=dict(interval=7500))
optim_wrapper = dict(optimizer=dict(lr=0.02))
