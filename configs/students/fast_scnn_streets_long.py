# Pre-training for real images.
_base_ = './fast_scnn_streets.py'
train_dataloader = dict(dataset=dict(length=100000))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, end=3000, by_epoch=False)]
train_cfg = dict(max_iters=3000, val_interval=1000)
