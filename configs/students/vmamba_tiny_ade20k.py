_base_ = [
    '../_base_/datasets/ade20k.py',
    '../_base_/models/vmamba_tiny_uper.py',
    '../_base_/schedules/vmamba_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=dict(size=(512, 512)))
train_dataloader = dict(batch_size=4, num_workers=4)
default_hooks = dict(checkpoint=dict(interval=16000))
sync_bn = 'torch'
