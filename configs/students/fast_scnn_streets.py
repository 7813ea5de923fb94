_base_ = [
    '../_base_/datasets/streets.py',
    '../_base_/models/fast_scnn.py',
    '../_base_/schedules/quick.py',
    '../_base_/default_runtime.py',
]
