_base_ = [
    '../_base_/datasets/digits.py',
    '../_base_/models/resnet18tiny_digits.py',
    '../_base_/schedules/digits_quick.py',
    '../_base_/classification_runtime.py',
]
