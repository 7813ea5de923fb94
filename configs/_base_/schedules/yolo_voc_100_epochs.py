# 258 iterations an epoch (16 551 images, batch 64: four GPUs, 16 images each): 100 epochs.
# The reference's SGD: learning rate 0.01, momentum 0.937, weight decay 5e-4, gradient clipped at
# 10; three epochs of warm-up, then linearly to 1 %. Its loss is the sum over 64 images, ours the
# mean. For the same step, the learning rate is multiplied by 64, and weight decay and clip are
# divided by it. The reference's biases warm up from a higher rate; here they do not.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01 * 64, momentum=0.937, nesterov=True, weight_decay=5e-4 / 64),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10 / 64),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, end=774, by_epoch=False),
    dict(type='LinearMomentum', start_factor=0.8 / 0.937, end=774, by_epoch=False),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.01, begin=774, end=25800, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=25800, val_interval=2580)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
