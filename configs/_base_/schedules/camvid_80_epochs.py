# 46 iterations an epoch (367 images, batch 8): 80 epochs from random weights.
_base_ = './quick.py'
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, end=3680, by_epoch=False)]
train_cfg = dict(max_iters=3680, val_interval=460)
