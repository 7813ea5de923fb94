# Pre-training for real images.
_base_ = './segformer_b0_streets.py'
optim_wrapper = dict(optimizer=dict(lr=6e-4))
train_dataloader = dict(dataset=dict(length=100000))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=50, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=50, end=3000, by_epoch=False),
]
train_cfg = dict(max_iters=3000, val_interval=1000)
