# 33 iterations an epoch (266 images, batch 8): 40 epochs from random weights.
_base_ = './segformer_camvid_40_epochs.py'
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=1320)]
train_cfg = dict(max_iters=1320, val_interval=264)
