_base_ = [
    '_base_/datasets/cifar10.py',
    '_base_/distillers/resnet18_at_cifar10.py',
    '_base_/schedules/cifar10_200_epochs.py',
    '_base_/classification_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/resnet34_cifar10.py',
        checkpoint='work_dirs/resnet34_cifar10/best.pth',
    ),
    distill=dict(attention=dict(schedule=dict(end=_base_.train_cfg.max_iters))),
)
