# Seconds on a CPU: 150 iterations of 64 digits.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-5, end=150, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=150, val_interval=75)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
