_base_ = './resnet18_cifar10.py'
model = dict(backbone=dict(depth=34))
