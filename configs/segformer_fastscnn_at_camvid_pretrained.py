# Starts from StreetScenes: first tools/train.py configs/students/fast_scnn_streets_long.py
_base_ = [
    '_base_/datasets/camvid.py',
    '_base_/distillers/fast_scnn_at.py',
    '_base_/schedules/camvid_15_epochs.py',
    '_base_/default_runtime.py',
]
load_from = 'work_dirs/fast_scnn_streets_long/best.pth'
model = dict(
    teacher=dict(
        config='configs/teachers/segformer_b0_camvid_restarted.py',
        checkpoint='work_dirs/segformer_b0_camvid_restarted/best.pth',
    ),
    distill=dict(attention=dict(schedule=dict(end=_base_.train_cfg.max_iters))),
)
