# As resnet18_digits.py, a quarter as wide.
_base_ = './resnet18_digits.py'
model = dict(backbone=dict(stem_channels=4, base_channels=4), head=dict(in_channels=32))
