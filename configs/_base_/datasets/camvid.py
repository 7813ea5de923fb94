# CamVid in the SegNet layout, at half resolution (240 x 180 of 480 x 360).
data_root = 'data/camvid'
crop_size = (180, 240)
load_labels = dict(type='mmkd.LoadCheckedAnnotations')
train_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='LoadImageFromFile'),
    load_labels,
    dict(type='RandomResize', scale=(240, 180), ratio_range=(0.8, 1.8), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
resize = dict(type='Resize', scale=(240, 180), keep_ratio=True)
test_pipeline = [  # for your images
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='mmkd.SeededInfiniteSampler'),
    dataset=dict(
        type='mmkd.CamVidDataset',
        data_root=data_root,
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,  # a batch would need images of one size
    num_workers=1,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmkd.CamVidDataset',
        data_root=data_root,
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            resize,
            load_labels,
            dict(type='PackSegInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmkd.ExactIoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
