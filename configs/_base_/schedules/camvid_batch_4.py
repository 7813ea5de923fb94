# Batches of 4, from random weights: 177 times 67 labelled images.
_base_ = './quick.py'
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, end=2970, by_epoch=False)]
train_cfg = dict(max_iters=2970, val_interval=297)
