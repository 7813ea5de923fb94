# 177 times the 67 images with a label, in batches of 4.
_base_ = [
    '../_base_/datasets/camvid_192x256_by_sequence_quarter.py',
    '../_base_/models/efficientnet_lite2_segformer_head.py',
    '../_base_/schedules/efficientnet_camvid_25_epochs.py',
    '../_base_/by_sequence_runtime.py',
]
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, end=2970, by_epoch=False)]
train_cfg = dict(max_iters=2970, val_interval=297)
