_base_ = [
    '_base_/datasets/coco_detection.py',
    '_base_/distillers/fcos_r50_frs.py',
    '_base_/schedules/detection_180k.py',
    '_base_/detection_runtime.py',
]
model = dict(
    teacher=dict(
        config='mmdet::fcos/fcos_r101-caffe_fpn_gn-head_ms-640-800-2x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/fcos/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco-511424d6.pth',
    ),
    distill=dict(feature=dict(weight=0.01), head=dict(weight=0.05)),
)
default_hooks = dict(checkpoint=dict(interval=7500))
# Two scales, as the teacher had, and the optimiser of MMDetection's FCOS.
train_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomChoiceResize', scales=[(1333, 640), (1333, 800)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(
    paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='ConstantLR', factor=1.0 / 3, end=500, by_epoch=False),
    dict(type='MultiStepLR', milestones=[120000, 165000], gamma=0.1, end=180000, by_epoch=False),
]
