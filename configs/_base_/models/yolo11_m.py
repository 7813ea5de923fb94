_base_ = './yolo11_n.py'
model = dict(backbone=dict(scale='m'), neck=dict(scale='m'), bbox_head=dict(scale='m'))
