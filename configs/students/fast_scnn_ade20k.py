_base_ = [
    '../_base_/datasets/ade20k.py',
    '../_base_/models/fast_scnn.py',
    '../_base_/schedules/iters_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(512, 512), size_divisor=None),
    decode_head=dict(num_classes=150),
    auxiliary_head=[dict(head, num_classes=150) for head in _base_.model.auxiliary_head],
)
train_dataloader = dict(batch_size=4, num_workers=4)
default_hooks = dict(checkpoint=dict(interval=16000))
sync_bn = 'torch'
