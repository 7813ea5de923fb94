_base_ = [
    '_base_/datasets/cityscapes.py',
    '_base_/distillers/vmamba_tiny_uper_freq.py',
    '_base_/schedules/vmamba_160k.py',
    '_base_/visual_runtime.py',
]
model = dict(
    student=dict(
        data_preprocessor=dict(size=(512, 1024)),
        decode_head=dict(num_classes=19),
        auxiliary_head=dict(num_classes=19),
    ),
    teacher=dict(
        config='configs/teachers/segformer_b5_cityscapes.py',
        checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/segformer/segformer_mit-b5_8x1_1024x1024_160k_cityscapes/segformer_mit-b5_8x1_1024x1024_160k_cityscapes_20211206_072934-87a052ec.pth',
    ),
)
train_dataloader = dict(batch_size=4, num_workers=4)
default_hooks = dict(checkpoint=dict(interval=16000))
sync_bn = 'torch'
