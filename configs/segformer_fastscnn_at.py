_base_ = [
    '_base_/datasets/streets.py',
    '_base_/distillers/fast_scnn_at.py',
    '_base_/schedules/quick.py',
    '_base_/default_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/segformer_b0_streets.py',
        checkpoint='work_dirs/segformer_b0_streets/best.pth',
    ),
    distill=dict(attention=dict(schedule=dict(end=_base_.train_cfg.max_iters))),
)
