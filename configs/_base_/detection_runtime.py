_base_ = './default_runtime.py'
default_scope = 'mmdet'
visualizer = dict(type='DetLocalVisualizer')
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))
