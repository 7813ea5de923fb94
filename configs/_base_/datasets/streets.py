# StreetScenes: procedural road scenes, rendered as they are loaded.
crop_size = (192, 256)
train_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='mmkd.RenderStreet'),
    dict(type='RandomResize', scale=(256, 192), ratio_range=(0.8, 1.8), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [  # for your images
    dict(type='LoadImageFromFile'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4,  # within minutes, twice the steps teach more than twice the batch
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='mmkd.SeededInfiniteSampler'),
    dataset=dict(
        type='mmkd.StreetScenes',
        split='train',
        length=4000,
        size=(192, 256),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmkd.StreetScenes',
        split='val',
        length=100,
        size=(192, 256),
        pipeline=[dict(type='mmkd.RenderStreet'), dict(type='PackSegInputs')],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmkd.ExactIoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
