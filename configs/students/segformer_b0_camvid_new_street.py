_base_ = [
    '../_base_/datasets/camvid_192x256_new_street.py',
    '../_base_/models/segformer_b0.py',
    '../_base_/schedules/segformer_camvid_new_street.py',
    '../_base_/by_sequence_runtime.py',
]
