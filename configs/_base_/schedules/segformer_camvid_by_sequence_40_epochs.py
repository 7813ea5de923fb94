# 33 iterations an epoch (266 images, batch 8): 40 epochs from random weights.
_base_ = './quick.py'
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=150, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=150, end=1320, by_epoch=False),
]
train_cfg = dict(max_iters=1320, val_interval=264)
