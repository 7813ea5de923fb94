# Pictures of what is being distilled, for any distillation that inherits this: in the work dir's
# vis_data/vis_image, and wherever else the visualizer's vis_backends put them.
default_hooks = dict(
    visualization=dict(type='mmkd.DistillVisualizationHook', interval=4000, images=(0,))
)
