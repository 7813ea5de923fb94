_base_ = [
    '../_base_/datasets/camvid.py',
    '../_base_/models/vmamba_nano.py',
    '../_base_/schedules/vmamba_camvid_40_epochs.py',
    '../_base_/default_runtime.py',
]
