# MMSegmentation's own config, with augmentation seeded by the draw.
_base_ = 'mmseg::_base_/datasets/ade20k.py'
train_dataloader = dict(
    sampler=dict(_delete_=True, type='mmkd.SeededInfiniteSampler'),
    dataset=dict(pipeline=[dict(type='mmkd.SeedAugmentation'), *_base_.train_pipeline]),
)
