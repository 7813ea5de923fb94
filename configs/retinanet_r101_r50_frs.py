_base_ = [
    '_base_/datasets/coco_detection.py',
    '_base_/distillers/retinanet_r50_frs.py',
    '_base_/schedules/detection_180k.py',
    '_base_/detection_runtime.py',
]
model = dict(
    teacher=dict(
        config='mmdet::retinanet/retinanet_r101_fpn_2x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r101_fpn_2x_coco/retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth',
    ),
    distill=dict(feature=dict(weight=0.005), head=dict(weight=0.02)),
)
default_hooks = dict(checkpoint=dict(interval=7500))
