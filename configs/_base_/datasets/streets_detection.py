# StreetScenes with boxes: procedural road scenes, rendered as they are read.
image_size = (240, 320)
train_pipeline = [
    dict(type='mmkd.SeedAugmentation'),
    dict(type='mmkd.LoadStreet'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=(320, 240), ratio_range=(0.8, 1.4), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(320, 240), allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')
test_pipeline = [
    dict(type='mmkd.LoadStreet'),
    dict(type='Resize', scale=(320, 240), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='mmkd.SeededInfiniteSampler'),
    dataset=dict(
        type='mmkd.StreetScenesDetection',
        split='train',
        length=4000,
        size=image_size,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmkd.StreetScenesDetection',
        split='val',
        length=100,
        size=image_size,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', metric='bbox')
test_evaluator = val_evaluator
