# SGD as MMPretrain trains ResNets on CIFAR-10, in iterations of 128 images: 390 are an epoch.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [
    dict(type='MultiStepLR', milestones=[39000, 58500], gamma=0.1, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=78000, val_interval=3900)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
