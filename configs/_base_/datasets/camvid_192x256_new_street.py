# CamVid by sequence, for a street that you filmed but did not label. The first 50 images of 0006R0
# are for training without their labels. Validation reports new_street/mIoU on its last 46 images;
# the five between, 5 s of film, are not used.
_base_ = './camvid_192x256_by_sequence.py'
train_dataloader = dict(batch_size=4)
new_street = dict(_base_.unseen, indices=list(range(55, 101)))
val_dataloader = dict(dataset=dict(datasets=[_base_.seen, new_street]))
test_dataloader = val_dataloader
val_evaluator = dict(dataset_prefixes=['val', 'new_street'])
test_evaluator = val_evaluator
