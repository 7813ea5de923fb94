_base_ = [
    '_base_/datasets/ade20k.py',
    '_base_/distillers/fast_scnn_freq.py',
    '_base_/schedules/iters_160k.py',
    '_base_/visual_runtime.py',
]
model = dict(
    student=dict(
        data_preprocessor=dict(size=(512, 512), size_divisor=None),
        decode_head=dict(num_classes=150),
        auxiliary_head=[
            dict(head, num_classes=150) for head in _base_.model.student.auxiliary_head
        ],
    ),
    teacher=dict(
        config='configs/teachers/segformer_b2_ade20k.py',
        checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/segformer/segformer_mit-b2_512x512_160k_ade20k/segformer_mit-b2_512x512_160k_ade20k_20210726_112103-cbd414ac.pth',
    ),
)
train_dataloader = dict(batch_size=4, num_workers=4)
default_hooks = dict(checkpoint=dict(interval=16000))
sync_bn = 'torch'
