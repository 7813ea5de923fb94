# The recipe of yolo11l_yolo11s_at.py with MMDetection's own YOLOX: YOLOX-s teaches YOLOX-tiny at
# the backbone's and the neck's levels.
_base_ = [
    '_base_/datasets/yolo_streets.py',
    '_base_/models/yolox_tiny.py',
    '_base_/schedules/yolo_quick.py',
    '_base_/yolo_runtime.py',
]
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    teacher=dict(
        config='configs/teachers/yolox_s_streets.py',
        checkpoint='work_dirs/yolox_s_streets/best.pth',
    ),
    distill={
        f'{part}{i}': dict(
            student=f'{part}[{i}]',
            teacher=f'{part}[{i}]',
            loss=dict(type='ActivationATLoss', mapping='sum', p=2, distance='l2_batch'),
        )
        for part, levels in (('backbone', (1, 2)), ('neck', (0, 1, 2)))
        for i in levels
    },
)
