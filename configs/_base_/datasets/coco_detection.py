# MMDetection's own config, with augmentation seeded by the draw. Images are not grouped by their
# aspect ratio: a grouping sampler cannot be resumed from exactly.
_base_ = 'mmdet::_base_/datasets/coco_detection.py'
train_dataloader = dict(
    sampler=dict(_delete_=True, type='mmkd.SeededInfiniteSampler'),
    batch_sampler=None,
    dataset=dict(pipeline=[dict(type='mmkd.SeedAugmentation'), *_base_.train_pipeline]),
)
