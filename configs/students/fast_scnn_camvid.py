_base_ = [
    '../_base_/datasets/camvid.py',
    '../_base_/models/fast_scnn.py',
    '../_base_/schedules/camvid_40_epochs.py',
    '../_base_/default_runtime.py',
]
