_base_ = [
    '../_base_/datasets/camvid_192x256_new_street.py',
    '../_base_/models/fast_scnn.py',
    '../_base_/schedules/camvid_new_street.py',
    '../_base_/by_sequence_runtime.py',
]
