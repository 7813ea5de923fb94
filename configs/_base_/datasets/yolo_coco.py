# COCO under YOLO's augmentation, at 640 x 640.
_base_ = ['./coco_detection.py', '../pipelines/yolo_640.py']
load_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(640, 640), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    dataset=dict(
        _delete_=True,
        type='mmkd.ScheduledMixDataset',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=load_pipeline),
        pipeline=_base_.mosaic_pipeline,
        skip_type_keys=('Mosaic', 'RandomResize', 'RandomCrop'),
        mix_until_sample=90 * 117266,  # of 100 epochs
    ),
)
val_dataloader = dict(batch_size=16, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
