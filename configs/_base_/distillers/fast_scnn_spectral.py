# Fast-SCNN under spectral attention graphs. A leaf adds the teacher, a SegFormer-B0.
_base_ = ['../models/fast_scnn.py', './spectral_terms.py']
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    distill=_base_.spectral_terms,
)
