# efficientnet_lite2_camvid_by_sequence.py at twice the height and width.
_base_ = './efficientnet_lite2_camvid_by_sequence.py'
train_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='LoadImageFromFile'),
    dict(type='mmkd.LoadCheckedAnnotations'),
    dict(type='RandomResize', scale=(480, 360), ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 320), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
resize = dict(type='Resize', scale=(480, 360), keep_ratio=True)
test_pipeline = [  # for your images
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='PackSegInputs'),
]
larger = dict(
    pipeline=[
        dict(type='LoadImageFromFile'),
        resize,
        dict(type='mmkd.LoadCheckedAnnotations'),
        dict(type='PackSegInputs'),
    ]
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(datasets=[dict(_base_.seen, **larger), dict(_base_.unseen, **larger)])
)
test_dataloader = val_dataloader
