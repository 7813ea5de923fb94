_base_ = [
    '../_base_/datasets/camvid_192x256_by_sequence_quarter.py',
    '../_base_/models/fast_scnn.py',
    '../_base_/schedules/camvid_batch_4.py',
    '../_base_/by_sequence_runtime.py',
]
