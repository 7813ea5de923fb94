# The schedule of segformer_b0_streets.py. The head starts from random weights and learns faster
# than the pretrained backbone.
_base_ = [
    '../_base_/datasets/streets.py',
    '../_base_/models/efficientnet_lite2_segformer_head.py',
    '../_base_/schedules/quick.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(
    optimizer=dict(lr=6e-4),
    paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=4.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=50, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=50, end=700, by_epoch=False),
]
train_cfg = dict(max_iters=700, val_interval=350)
