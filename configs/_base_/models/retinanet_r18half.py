# The small RetinaNet at half the width everywhere.
_base_ = './retinanet_r18.py'
model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=48),
    bbox_head=dict(in_channels=48, feat_channels=48),
)
