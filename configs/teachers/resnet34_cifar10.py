_base_ = [
    '../_base_/datasets/cifar10.py',
    '../_base_/models/resnet34_cifar10.py',
    '../_base_/schedules/cifar10_200_epochs.py',
    '../_base_/classification_runtime.py',
]
