_base_ = [
    '_base_/datasets/streets.py',
    '_base_/distillers/vmamba_nano_pkd.py',
    '_base_/schedules/vmamba_quick.py',
    '_base_/default_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/efficientnet_lite2_streets.py',
        checkpoint='work_dirs/efficientnet_lite2_streets/best.pth',
    ),
)
