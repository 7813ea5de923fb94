# CamVid without the sequence 0006R0 in training: 266 images in place of 367. Validation reports
# val/mIoU, on a sequence that is also in the training set, and unseen/mIoU, on 0006R0.
_base_ = './camvid_192x256.py'
train_dataloader = dict(dataset=dict(sequences=['0001TP', '0016E5']))
seen = _base_.val_dataloader.dataset
unseen = dict(
    seen, data_prefix=dict(img_path='train', seg_map_path='trainannot'), sequences=['0006R0']
)
val_dataloader = dict(
    dataset=dict(_delete_=True, type='mmdet.ConcatDataset', datasets=[seen, unseen])
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='mmdet.MultiDatasetsEvaluator',
    metrics=[_base_.val_evaluator, _base_.val_evaluator],
    dataset_prefixes=['val', 'unseen'],
)
test_evaluator = val_evaluator
