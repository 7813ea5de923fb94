_base_ = [
    '../_base_/datasets/streets.py',
    '../_base_/models/vmamba_nano.py',
    '../_base_/schedules/vmamba_quick.py',
    '../_base_/default_runtime.py',
]
