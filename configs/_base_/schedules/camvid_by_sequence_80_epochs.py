# 33 iterations an epoch (266 images, batch 8): 80 epochs from random weights. The Fast-SCNN
# baseline scores better at this rate than at 1e-3.
_base_ = './quick.py'
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, end=2640, by_epoch=False)]
train_cfg = dict(max_iters=2640, val_interval=264)
