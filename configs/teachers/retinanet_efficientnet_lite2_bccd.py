_base_ = ['./retinanet_r18_bccd.py', '../_base_/models/efficientnet_lite2.py']
model = dict(
    data_preprocessor=_base_.efficientnet_pixels,
    backbone=dict(_base_.efficientnet_lite2, _delete_=True),
    neck=dict(in_channels=[24, 48, 120, 352]),
)
# The pretrained backbone learns more slowly than what starts from random weights.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.25)}))
