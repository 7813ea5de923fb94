# StreetScenes with boxes under YOLO's augmentation; validated like the other detectors.
_base_ = ['./streets_detection.py', '../pipelines/yolo_320.py']
load_pipeline = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='mmkd.RenderStreet'),
    dict(type='LoadAnnotations', with_bbox=True),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmkd.ScheduledMixDataset',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=load_pipeline),
        pipeline=_base_.mosaic_pipeline,
        skip_type_keys=('Mosaic', 'RandomResize', 'RandomCrop'),
        mix_until_sample=250 * 8,  # of 300 * 8
    )
)
