_base_ = './default_runtime.py'
default_scope = 'mmpretrain'
visualizer = dict(type='UniversalVisualizer')
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'))
