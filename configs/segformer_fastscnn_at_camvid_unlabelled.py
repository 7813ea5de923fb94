# Every fourth of CamVid's training images keeps its label (92 images). The other 275 count in the
# distillation terms only. A batch holds eight of each. The teacher was trained with all labels; to
# use one that was not, set model.teacher.
_base_ = 'segformer_fastscnn_at_camvid.py'
train_dataloader = dict(dataset=dict(indices=list(range(0, 367, 4))))
default_hooks = dict(
    unlabelled=dict(
        type='mmkd.UnlabelledImagesHook',
        ratio=1,
        dataset=dict(
            type='mmkd.ImageFolder',
            data_root=_base_.data_root,
            data_prefix=dict(img_path='train'),
            indices=[i for i in range(367) if i % 4],
            pipeline=[
                dict(type='mmkd.SeedTransforms'),
                dict(type='LoadImageFromFile'),
                dict(
                    type='RandomResize', scale=(240, 180), ratio_range=(0.8, 1.8), keep_ratio=True
                ),
                dict(type='RandomCrop', crop_size=_base_.crop_size),
                dict(type='RandomFlip', prob=0.5),
                dict(type='PhotoMetricDistortion'),
                dict(type='PackSegInputs'),
            ],
        ),
    )
)
