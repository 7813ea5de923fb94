_base_ = [
    '_base_/datasets/coco_detection.py',
    '_base_/distillers/gfl_r50_frs.py',
    '_base_/schedules/detection_180k.py',
    '_base_/detection_runtime.py',
]
model = dict(
    teacher=dict(
        config='mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/gfl/gfl_r101_fpn_mstrain_2x_coco/gfl_r101_fpn_mstrain_2x_coco_20200629_200126-dd12f847.pth',
    ),
    distill=dict(feature=dict(weight=0.1), head=dict(weight=0.05)),
)
default_hooks = dict(checkpoint=dict(interval=7500))
# Several scales, as the teacher had.
train_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=[(1333, 480), (1333, 800)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
