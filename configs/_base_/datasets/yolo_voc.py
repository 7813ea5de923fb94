# PASCAL VOC under YOLO's augmentation, at 640 x 640.
_base_ = ['./voc.py', '../pipelines/yolo_640.py']
load_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(640, 640), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=_base_.meta_keys),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    dataset=dict(
        _delete_=True,
        type='mmkd.ScheduledMixDataset',
        dataset=dict(
            _base_.train_dataloader.dataset,
            datasets=[
                dict(part, pipeline=load_pipeline)
                for part in _base_.train_dataloader.dataset.datasets
            ],
        ),
        pipeline=_base_.mosaic_pipeline,
        skip_type_keys=('Mosaic', 'RandomResize', 'RandomCrop'),
        mix_until_sample=90 * 16551,  # of 100 epochs
    ),
)
val_dataloader = dict(batch_size=16, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
