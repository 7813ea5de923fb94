_base_ = [
    '_base_/datasets/cityscapes.py',
    '_base_/distillers/fast_scnn_freq.py',
    '_base_/schedules/iters_160k.py',
    '_base_/visual_runtime.py',
]
model = dict(
    student=dict(
        data_preprocessor=dict(size=(512, 1024), size_divisor=None),
        decode_head=dict(num_classes=19),
        auxiliary_head=[dict(head, num_classes=19) for head in _base_.model.student.auxiliary_head],
    ),
    teacher=dict(
        config='configs/teachers/segformer_b2_cityscapes.py',
        checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/segformer/segformer_mit-b2_8x1_1024x1024_160k_cityscapes/segformer_mit-b2_8x1_1024x1024_160k_cityscapes_20211207_134205-6096669a.pth',
    ),
)
train_dataloader = dict(batch_size=4, num_workers=4)
default_hooks = dict(checkpoint=dict(interval=16000))
sync_bn = 'torch'
