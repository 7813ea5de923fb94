_base_ = [
    '../_base_/datasets/camvid_192x256_by_sequence.py',
    '../_base_/models/segformer_b0.py',
    '../_base_/schedules/segformer_camvid_by_sequence_40_epochs.py',
    '../_base_/by_sequence_runtime.py',
]
