_base_ = './yolo11_n.py'
model = dict(backbone=dict(scale='s'), neck=dict(scale='s'), bbox_head=dict(scale='s'))
