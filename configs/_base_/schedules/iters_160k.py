# The schedule of Fast-SCNN's and SegFormer's published models, for eight GPUs.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.12, momentum=0.9, weight_decay=4e-5),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-4, end=160000, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
