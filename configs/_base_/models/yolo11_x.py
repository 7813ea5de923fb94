_base_ = './yolo11_n.py'
model = dict(backbone=dict(scale='x'), neck=dict(scale='x'), bbox_head=dict(scale='x'))
