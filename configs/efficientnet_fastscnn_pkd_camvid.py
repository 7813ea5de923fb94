_base_ = [
    '_base_/datasets/camvid_192x256.py',
    '_base_/distillers/fast_scnn_pkd.py',
    '_base_/schedules/camvid_80_epochs.py',
    '_base_/default_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/efficientnet_lite2_camvid.py',
        checkpoint='work_dirs/efficientnet_lite2_camvid/best.pth',
    ),
)
