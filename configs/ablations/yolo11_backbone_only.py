_base_ = '../yolo11l_yolo11s_at.py'
model = dict(distill=dict(layer13=None, layer16=None, layer19=None, layer22=None))
