# For validation that reports two scores: the best checkpoint is chosen by that on `val`.
_base_ = './default_runtime.py'
default_hooks = dict(checkpoint=dict(save_best='val/mIoU'))
