_base_ = ['../models/faster_rcnn_r18half.py', './frs_two_stage.py']
model = dict(_delete_=True, type='mmkd.Distiller', student=_base_.model, distill=_base_.distill)
