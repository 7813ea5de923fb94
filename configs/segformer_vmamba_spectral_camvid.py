_base_ = [
    '_base_/datasets/camvid.py',
    '_base_/distillers/vmamba_nano_spectral.py',
    '_base_/schedules/vmamba_camvid_40_epochs.py',
    '_base_/default_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/segformer_b0_camvid.py',
        checkpoint='work_dirs/segformer_b0_camvid/best.pth',
    ),
)
