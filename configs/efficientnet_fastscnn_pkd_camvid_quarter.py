# A quarter of the labels, for the teacher too. The other 199 training images count in the
# distillation terms only; a batch holds four of each.
_base_ = [
    '_base_/datasets/camvid_192x256_by_sequence_quarter.py',
    '_base_/distillers/fast_scnn_pkd.py',
    '_base_/schedules/camvid_batch_4.py',
    '_base_/camvid_unlabelled_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/efficientnet_lite2_camvid_quarter.py',
        checkpoint='work_dirs/efficientnet_lite2_camvid_quarter/best.pth',
    ),
)
default_hooks = dict(
    unlabelled=dict(
        dataset=dict(sequences=['0001TP', '0016E5'], indices=[i for i in range(266) if i % 4])
    )
)
