# The small Faster R-CNN at half the width everywhere.
_base_ = './faster_rcnn_r18.py'
model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=48),
    rpn_head=dict(in_channels=48, feat_channels=48),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=48),
        bbox_head=dict(in_channels=48, fc_out_channels=128),
    ),
)
