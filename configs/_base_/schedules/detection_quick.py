# The quick schedule, adapted to a detector that starts from random weights.
_base_ = './quick.py'
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=50, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=50, end=300, by_epoch=False),
]
train_cfg = dict(max_iters=300, val_interval=150)
