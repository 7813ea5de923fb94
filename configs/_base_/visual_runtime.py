# The default runtime with pictures of what is being distilled: in the work dir's
# vis_data/vis_image, and wherever else the visualizer's vis_backends put them.
_base_ = './default_runtime.py'
default_hooks = dict(
    visualization=dict(type='mmkd.DistillVisualizationHook', interval=4000, images=(0,))
)
