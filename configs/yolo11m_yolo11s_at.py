_base_ = './yolo11l_yolo11s_at.py'
model = dict(
    teacher=dict(
        config='configs/teachers/yolo11m_streets.py',
        checkpoint='work_dirs/yolo11m_streets/best.pth',
    ),
)
