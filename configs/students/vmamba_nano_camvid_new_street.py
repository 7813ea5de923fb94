_base_ = [
    '../_base_/datasets/camvid_192x256_new_street.py',
    '../_base_/models/vmamba_nano.py',
    '../_base_/schedules/vmamba_camvid_new_street.py',
    '../_base_/by_sequence_runtime.py',
]
