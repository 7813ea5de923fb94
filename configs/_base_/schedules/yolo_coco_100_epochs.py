# 1832 iterations an epoch (117 266 images, batch 64): 100 epochs.
_base_ = './yolo_voc_100_epochs.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, end=5496, by_epoch=False),
    dict(type='LinearMomentum', start_factor=0.8 / 0.937, end=5496, by_epoch=False),
    dict(
        type='LinearLR', start_factor=1.0, end_factor=0.01, begin=5496, end=183200, by_epoch=False
    ),
]
train_cfg = dict(max_iters=183200, val_interval=9160)
