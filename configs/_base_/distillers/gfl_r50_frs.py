_base_ = ['../models/gfl_r50.py', './frs_one_stage.py']
model = dict(_delete_=True, type='mmkd.Distiller', student=_base_.model, distill=_base_.distill)
