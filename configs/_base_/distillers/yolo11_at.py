# YOLO11-s under attention transfer at six layers, by their published numbers: the backbone's
# stages at stride 16 and 32, and the neck's four blocks. Equal weights; the maps are
# sum_c |F_c|^2, so the teacher may be of any width. A leaf adds the teacher, any YOLO11.
_base_ = '../models/yolo11_s.py'
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    distill={
        f'layer{i}': dict(
            student=f'yolo[{i}]',
            teacher=f'yolo[{i}]',
            loss=dict(type='ActivationATLoss', mapping='sum', p=2, distance='l2_batch'),
        )
        for i in (6, 8, 13, 16, 19, 22)
    },
)
