_base_ = [
    '../_base_/datasets/camvid.py',
    '../_base_/models/segformer_b0.py',
    '../_base_/schedules/segformer_camvid_40_epochs.py',
    '../_base_/default_runtime.py',
]
