default_scope = 'mmseg'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
randomness = dict(seed=0)
env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends)
# Average terms over ten iterations, as MMEngine does for values with 'loss' in their name.
log_processor = dict(by_epoch=False, mean_pattern='loss|time|grad_norm|distill')
log_level = 'INFO'
load_from = None
resume = False
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    step_seed=dict(type='mmkd.StepSeedHook'),
    term_schedule=dict(type='mmkd.LossWeightHook'),
    class_count=dict(type='mmkd.CheckNumClassesHook'),
    lean_heads=dict(type='mmkd.LeanHeadsHook'),
    finite_gradient=dict(type='mmkd.FiniteGradientHook'),
    teacher_score=dict(type='mmkd.ValidateTeacherHook'),
    broadcast_buffers=dict(type='mmkd.SyncBuffersFromRank0Hook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=500,
        save_best='mIoU',
        rule='greater',
        max_keep_ckpts=2,  # MMEngine deletes the oldest before it writes the next
        backend_args=dict(backend='atomic'),
    ),
    best_checkpoint=dict(type='mmkd.BestCheckpointHook'),
    student_checkpoint=dict(type='mmkd.StudentCheckpointHook'),
    resumed=dict(type='mmkd.CheckResumedHook'),
)
