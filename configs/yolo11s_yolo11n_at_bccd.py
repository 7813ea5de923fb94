# The same config at a size that two CPU cores can train.
_base_ = './yolo11l_yolo11s_at_bccd.py'
model = dict(
    student=dict(backbone=dict(scale='n'), neck=dict(scale='n'), bbox_head=dict(scale='n')),
    teacher=dict(
        config='configs/teachers/yolo11s_bccd.py', checkpoint='work_dirs/yolo11s_bccd/best.pth'
    ),
)
