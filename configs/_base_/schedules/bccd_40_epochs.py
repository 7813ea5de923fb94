# 25 iterations an epoch (205 images, batch 8): 40 epochs.
_base_ = './detection_quick.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=50, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=50, end=1000, by_epoch=False),
]
train_cfg = dict(max_iters=1000, val_interval=250)
