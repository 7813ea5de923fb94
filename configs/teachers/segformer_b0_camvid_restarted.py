# Continues the training of configs/teachers/segformer_b0_camvid_pretrained.py: run that first.
_base_ = './segformer_b0_camvid_pretrained.py'
load_from = 'work_dirs/segformer_b0_camvid_pretrained/best.pth'
# 60 epochs of 92 iterations; the learning rate starts from the beginning.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=150, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=150, end=5520, by_epoch=False),
]
train_cfg = dict(max_iters=5520, val_interval=920)
