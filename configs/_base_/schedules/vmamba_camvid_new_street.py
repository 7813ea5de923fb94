# As long as camvid_new_street.py, for VMamba.
_base_ = './vmamba_quick.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=150, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=150, end=1980, by_epoch=False),
]
train_cfg = dict(max_iters=1980, val_interval=198)
