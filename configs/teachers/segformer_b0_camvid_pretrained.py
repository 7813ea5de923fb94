# Starts from StreetScenes: first tools/train.py configs/teachers/segformer_b0_streets_long.py
_base_ = './segformer_b0_camvid.py'
load_from = 'work_dirs/segformer_b0_streets_long/best.pth'
# 40 epochs of 92 iterations.
train_dataloader = dict(batch_size=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=150, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=150, end=3680, by_epoch=False),
]
train_cfg = dict(max_iters=3680, val_interval=460)
