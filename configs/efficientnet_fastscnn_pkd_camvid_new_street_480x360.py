# The teacher sees the images at twice their height and width, as it was trained.
_base_ = './efficientnet_fastscnn_pkd_camvid_new_street.py'
model = dict(
    teacher=dict(
        config='configs/teachers/efficientnet_lite2_camvid_by_sequence_480x360.py',
        checkpoint='work_dirs/efficientnet_lite2_camvid_by_sequence_480x360/best.pth',
        scale=2.0,
    ),
)
