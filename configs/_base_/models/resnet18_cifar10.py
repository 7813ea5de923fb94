# ResNet-18 (He et al., CVPR 2016) for images of 32x32 pixels: it begins without stride or pooling.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        mean=[125.307, 122.961, 113.8575],
        std=[51.5865, 50.847, 51.255],
        to_rgb=False,  # CIFAR-10 is stored as RGB
    ),
    backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512),
)
