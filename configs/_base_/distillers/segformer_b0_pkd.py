# A leaf adds the teacher, an EfficientNet.
_base_ = ['../models/segformer_b0.py', './stages_pkd_terms.py']
model = dict(_delete_=True, type='mmkd.Distiller', student=_base_.model, distill=_base_.distill)
