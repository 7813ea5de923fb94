_base_ = [
    '_base_/datasets/camvid_192x256_new_street.py',
    '_base_/distillers/vmamba_nano_pkd.py',
    '_base_/schedules/vmamba_camvid_new_street.py',
    '_base_/camvid_new_street_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/efficientnet_lite2_camvid_by_sequence.py',
        checkpoint='work_dirs/efficientnet_lite2_camvid_by_sequence/best.pth',
    ),
)
