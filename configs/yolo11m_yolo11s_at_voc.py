_base_ = './yolo11l_yolo11s_at_voc.py'
model = dict(
    teacher=dict(
        config='configs/teachers/yolo11m_voc.py', checkpoint='work_dirs/yolo11m_voc/best.pth'
    ),
)
