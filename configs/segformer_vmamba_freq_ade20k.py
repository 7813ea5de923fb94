_base_ = [
    '_base_/datasets/ade20k.py',
    '_base_/distillers/vmamba_tiny_uper_freq.py',
    '_base_/schedules/vmamba_160k.py',
    '_base_/visual_runtime.py',
]
model = dict(
    student=dict(data_preprocessor=dict(size=(512, 512))),
    teacher=dict(
        config='configs/teachers/segformer_b4_ade20k.py',
        checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/segformer/segformer_mit-b4_512x512_160k_ade20k/segformer_mit-b4_512x512_160k_ade20k_20210728_183055-7f509d7d.pth',
    ),
)
train_dataloader = dict(batch_size=4, num_workers=4)
default_hooks = dict(checkpoint=dict(interval=16000))
sync_bn = 'torch'
