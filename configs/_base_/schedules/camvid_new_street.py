# 30 times 266 labelled images.
_base_ = './camvid_batch_4.py'
param_scheduler = [dict(_base_.param_scheduler[0], end=1980)]
train_cfg = dict(max_iters=1980, val_interval=198)
