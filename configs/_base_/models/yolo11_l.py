_base_ = './yolo11_n.py'
model = dict(backbone=dict(scale='l'), neck=dict(scale='l'), bbox_head=dict(scale='l'))
