# As long as camvid_new_street.py, for SegFormer.
_base_ = './segformer_camvid_40_epochs.py'
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=1980)]
train_cfg = dict(max_iters=1980, val_interval=198)
