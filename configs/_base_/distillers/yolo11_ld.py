# YOLO11-s under a teacher's class scores and box distributions at its three strides, weighted by
# feature richness. A leaf adds the teacher, any YOLO11 of the same classes.
_base_ = '../models/yolo11_s.py'
scores = [f'bbox_head[0][{level}]' for level in range(3)]
boxes = [f'bbox_head[1][{level}]' for level in range(3)]
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    distill=dict(
        scores=dict(student=scores, teacher=scores, loss=dict(type='FRSHeadLoss')),
        boxes=dict(
            student=boxes,
            teacher=boxes,
            loss_inputs=dict(scores=scores),
            loss=dict(type='LocalizationKDLoss'),
        ),
    ),
)
