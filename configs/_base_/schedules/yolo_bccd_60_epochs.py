# 25 iterations an epoch (205 images, batch 8): 60 epochs; 3 classes.
_base_ = './yolo_quick.py'
optim_wrapper = dict(optimizer=dict(lr=0.002 * 5 / 7))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=75, by_epoch=False),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.01, begin=75, end=1500, by_epoch=False),
]
train_cfg = dict(max_iters=1500, val_interval=250)
