# A ResNet-18 of a quarter of the width, for grey digits of 8x8 pixels.
_base_ = './resnet18_cifar10.py'
model = dict(
    data_preprocessor=dict(mean=[78.0] * 3, std=[96.0] * 3),
    backbone=dict(stem_channels=16, base_channels=16, strides=(1, 1, 2, 2)),
    head=dict(in_channels=128),
)
