_base_ = [
    '../_base_/datasets/camvid.py',
    '../_base_/models/segformer_b0.py',
    '../_base_/schedules/camvid_40_epochs.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=150, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=150, end=1840, by_epoch=False),
]
