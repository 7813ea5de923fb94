# As many CamVid images without labels as with labels in each batch. A leaf names their sequences.
_base_ = './by_sequence_runtime.py'
default_hooks = dict(
    unlabelled=dict(
        type='mmkd.UnlabelledImagesHook',
        ratio=1,
        dataset=dict(
            type='mmkd.CamVidDataset',
            data_root='data/camvid',
            data_prefix=dict(img_path='train', seg_map_path='trainannot'),
            pipeline=[  # that of the labelled images, without what reads labels
                dict(type='mmkd.SeedTransforms'),
                dict(type='LoadImageFromFile'),
                dict(
                    type='RandomResize', scale=(240, 180), ratio_range=(0.75, 2.0), keep_ratio=True
                ),
                dict(type='RandomCrop', crop_size=(192, 256)),
                dict(type='RandomFlip', prob=0.5),
                dict(type='PhotoMetricDistortion'),
                dict(type='PackSegInputs'),
            ],
        ),
    )
)
