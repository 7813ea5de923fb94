_base_ = [
    '_base_/datasets/streets.py',
    '_base_/distillers/vmamba_nano_spectral.py',
    '_base_/schedules/vmamba_quick.py',
    '_base_/default_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/segformer_b0_streets.py',
        checkpoint='work_dirs/segformer_b0_streets/best.pth',
    ),
)
