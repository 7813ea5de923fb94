# The digits of scikit-learn, 8x8 pixels: nothing to download.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='mmkd.SeededInfiniteSampler'),
    dataset=dict(
        type='mmkd.Digits',
        split='train',
        pipeline=[
            dict(type='mmkd.SeedTransforms'),
            dict(type='RandomCrop', crop_size=8, padding=1),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmkd.Digits', split='val', pipeline=[dict(type='PackInputs')]),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator
