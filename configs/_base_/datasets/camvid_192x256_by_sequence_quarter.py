# CamVid by sequence, where every fourth of the 266 training images has a label: 67 images.
_base_ = './camvid_192x256_by_sequence.py'
train_dataloader = dict(batch_size=4, dataset=dict(indices=list(range(0, 266, 4))))
