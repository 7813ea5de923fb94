# MMDetection's 2x schedule, counted in iterations of 16 images: eight GPUs, two images each.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, end=500, by_epoch=False),
    dict(type='MultiStepLR', milestones=[120000, 165000], gamma=0.1, end=180000, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=180000, val_interval=7500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
