_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', './frs_two_stage.py']
model = dict(_delete_=True, type='mmkd.Distiller', student=_base_.model, distill=_base_.distill)
