_base_ = [
    '../_base_/datasets/camvid_192x256.py',
    '../_base_/models/fast_scnn.py',
    '../_base_/schedules/camvid_80_epochs.py',
    '../_base_/default_runtime.py',
]
