# Starts from StreetScenes: first tools/train.py configs/students/fast_scnn_streets_long.py
_base_ = [
    '../_base_/datasets/camvid.py',
    '../_base_/models/fast_scnn.py',
    '../_base_/schedules/camvid_15_epochs.py',
    '../_base_/default_runtime.py',
]
load_from = 'work_dirs/fast_scnn_streets_long/best.pth'
