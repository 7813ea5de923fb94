# Minutes to an hour on a laptop's CPU, with the optimiser that the reference takes for fewer than
# 10 000 iterations: AdamW, learning rate 0.002 * 5 / (4 + classes), here 4 classes, down to 1 %.
# It clips the gradient of a sum over 64 images at 10; here the loss is a mean.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.00125, weight_decay=5e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10 / 64),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=50, by_epoch=False),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.01, begin=50, end=300, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=300, val_interval=150)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
