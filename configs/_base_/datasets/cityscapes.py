# MMSegmentation's config, with augmentation seeded by the sample number.
_base_ = 'mmseg::_base_/datasets/cityscapes.py'
train_dataloader = dict(
    sampler=dict(_delete_=True, type='mmkd.SeededInfiniteSampler'),
    dataset=dict(pipeline=[dict(type='mmkd.SeedTransforms'), *_base_.train_pipeline]),
)
val_evaluator = dict(type='mmkd.ExactIoUMetric')
test_evaluator = val_evaluator
