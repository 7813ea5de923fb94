# Gradient attention transfer in place of the other terms.
_base_ = './resnet18_resnet18tiny_at_digits.py'
model = dict(distill=dict(_delete_=True, gradient=_base_.gradient))
