# StreetScenes with boxes: procedural road scenes, rendered as they are loaded.
image_size = (240, 320)
train_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='mmkd.RenderStreet'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=(320, 240), ratio_range=(0.8, 1.4), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(320, 240), allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')
test_pipeline = [
    dict(type='mmkd.RenderStreet'),
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
        type='mmkd.StreetScenesDet',
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
        type='mmkd.StreetScenesDet',
        split='val',
        length=100,
        size=image_size,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
# At most 100 detections an image, for mAP as for AP50: MMDetection's default takes 1,000 for AP50.
val_evaluator = dict(type='CocoMetric', metric='bbox', proposal_nums=(1, 10, 100))
test_evaluator = val_evaluator
