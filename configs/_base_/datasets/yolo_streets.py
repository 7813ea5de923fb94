# StreetScenes with boxes under YOLO's augmentation; validated as the other detectors are.
_base_ = ['./streets_detection.py', '../pipelines/yolo_320.py']
load_pipeline = [
    dict(type='mmkd.SeedAugmentation'),
    dict(type='mmkd.LoadStreet'),
    dict(type='LoadAnnotations', with_bbox=True),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmkd.ScheduledMixDataset',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=load_pipeline),
        pipeline=_base_.mosaic_pipeline,
        skip_type_keys=('Mosaic', 'RandomResize', 'RandomCrop'),
        skip_from_draw=250 * 8,  # of 300 * 8
    )
)
