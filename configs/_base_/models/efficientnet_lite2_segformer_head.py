# EfficientNet-Lite2 under SegFormer's head, for 11 classes.
_base_ = './efficientnet_lite2.py'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        _base_.efficientnet_pixels,
        type='SegDataPreProcessor',
        pad_val=0,
        seg_pad_val=255,
        size_divisor=1,
    ),
    backbone=_base_.efficientnet_lite2,
    decode_head=dict(
        type='SegformerHead',
        in_channels=[24, 48, 120, 352],
        in_index=[0, 1, 2, 3],
        channels=96,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
