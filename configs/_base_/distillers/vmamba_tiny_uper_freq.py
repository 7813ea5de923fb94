_base_ = ['../models/vmamba_tiny_uper.py', './vmamba_freq_terms.py']
model = dict(_delete_=True, type='mmkd.Distiller', student=_base_.model, distill=_base_.distill)
