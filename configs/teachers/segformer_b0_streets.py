_base_ = [
    '../_base_/datasets/streets.py',
    '../_base_/models/segformer_b0.py',
    '../_base_/schedules/quick.py',
    '../_base_/default_runtime.py',
]
# Takes half of the demo's time on a CPU. With 6e-4, this short training ends two points lower.
optim_wrapper = dict(optimizer=dict(lr=1.2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=50, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=50, end=700, by_epoch=False),
]
train_cfg = dict(max_iters=700, val_interval=350)
