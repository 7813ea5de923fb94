# Detection with the average of the weights that YOLO validates and saves: decay
# 0.9999 * (1 - exp(-steps / 2000)).
_base_ = './detection_runtime.py'
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=1e-4, gamma=2000, update_buffers=True)
]
