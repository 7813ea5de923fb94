# Gradient attention transfer in place of the other terms.
_base_ = './resnet34_resnet18_at_cifar10.py'
model = dict(distill=dict(_delete_=True, gradient=_base_.gradient))
