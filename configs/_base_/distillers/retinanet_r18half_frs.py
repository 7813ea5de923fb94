_base_ = ['../models/retinanet_r18half.py', './frs_one_stage.py']
model = dict(_delete_=True, type='mmkd.Distiller', student=_base_.model, distill=_base_.distill)
