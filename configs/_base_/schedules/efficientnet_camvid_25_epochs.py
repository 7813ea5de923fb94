# 46 iterations an epoch (367 images, batch 8): 25 epochs. The head starts from random weights and
# learns faster than the pretrained backbone.
_base_ = './quick.py'
optim_wrapper = dict(
    optimizer=dict(lr=4e-4),
    paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=4.0)}),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, end=1150, by_epoch=False)]
train_cfg = dict(max_iters=1150, val_interval=230)
