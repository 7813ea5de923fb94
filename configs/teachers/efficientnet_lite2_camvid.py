_base_ = [
    '../_base_/datasets/camvid_192x256.py',
    '../_base_/models/efficientnet_lite2_segformer_head.py',
    '../_base_/schedules/efficientnet_camvid_25_epochs.py',
    '../_base_/default_runtime.py',
]
