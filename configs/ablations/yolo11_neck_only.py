_base_ = '../yolo11l_yolo11s_at.py'
model = dict(distill=dict(layer6=None, layer8=None))
