# A quarter of the labels, for the teacher too. The other 199 training images count in the
# distillation terms only; a batch holds four of each.
_base_ = [
    '_base_/datasets/camvid_192x256_by_sequence_quarter.py',
    '_base_/distillers/fast_scnn_pkd.py',
    '_base_/schedules/camvid_quarter.py',
    '_base_/by_sequence_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/efficientnet_lite2_camvid_quarter.py',
        checkpoint='work_dirs/efficientnet_lite2_camvid_quarter/best.pth',
    ),
)
default_hooks = dict(
    unlabelled=dict(
        type='mmkd.UnlabelledImagesHook',
        ratio=1,
        dataset=dict(
            type='mmkd.CamVidDataset',
            data_root=_base_.data_root,
            data_prefix=dict(img_path='train', seg_map_path='trainannot'),
            sequences=['0001TP', '0016E5'],
            indices=[i for i in range(266) if i % 4],
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
