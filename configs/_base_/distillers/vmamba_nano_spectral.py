_base_ = ['../models/vmamba_nano.py', './vmamba_spectral_terms.py']
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    distill=_base_.spectral_terms,
)
