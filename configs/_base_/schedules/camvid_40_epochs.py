# 46 iterations an epoch (367 images, batch 8): 40 epochs.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, end=1840, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1840, val_interval=230)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
