# BCCD blood cells under YOLO's augmentation; validated like the other detectors.
_base_ = ['./bccd.py', '../pipelines/yolo_320.py']
load_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmkd.ScheduledMixDataset',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=load_pipeline),
        pipeline=_base_.mosaic_pipeline,
        skip_type_keys=('Mosaic', 'RandomResize', 'RandomCrop'),
        mix_until_sample=50 * 205,  # of 60 epochs
    )
)
