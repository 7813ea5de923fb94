_base_ = [
    '_base_/datasets/digits.py',
    '_base_/distillers/resnet18tiny_at_digits.py',
    '_base_/schedules/digits_quick.py',
    '_base_/classification_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/resnet18_digits.py',
        checkpoint='work_dirs/resnet18_digits/best.pth',
    ),
    distill=dict(attention=dict(schedule=dict(end=_base_.train_cfg.max_iters))),
)
