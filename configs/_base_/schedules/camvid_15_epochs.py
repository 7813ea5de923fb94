# 46 iterations an epoch (367 images, batch 8): 15 epochs from a pre-trained network. The Fast-SCNN
# baseline scores best at this rate, of 1e-3, 2e-3, 4e-3 and 8e-3.
_base_ = './quick.py'
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, end=690, by_epoch=False)]
train_cfg = dict(max_iters=690, val_interval=230)
