_base_ = ['../models/resnet18tiny_digits.py', './resnet_at_terms.py']
model = dict(_delete_=True, type='mmkd.Distiller', student=_base_.model, distill=_base_.distill)
