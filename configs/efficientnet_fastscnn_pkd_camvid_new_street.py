# Labels of the streets 0001TP and 0016E5, for the teacher too, and a film of the street 0006R0,
# whose images count in the distillation terms only; a batch holds four of each.
_base_ = [
    '_base_/datasets/camvid_192x256_new_street.py',
    '_base_/distillers/fast_scnn_pkd.py',
    '_base_/schedules/camvid_new_street.py',
    '_base_/camvid_new_street_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/efficientnet_lite2_camvid_by_sequence.py',
        checkpoint='work_dirs/efficientnet_lite2_camvid_by_sequence/best.pth',
    ),
)
