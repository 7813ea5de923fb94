# MMDetection's config, with augmentation seeded by the sample number. Images are not grouped by
# aspect ratio, because a grouping sampler cannot resume exactly.
_base_ = 'mmdet::_base_/datasets/coco_detection.py'
train_dataloader = dict(
    sampler=dict(_delete_=True, type='mmkd.SeededInfiniteSampler'),
    batch_sampler=None,
    dataset=dict(pipeline=[dict(type='mmkd.SeedTransforms'), *_base_.train_pipeline]),
)
# At most 100 detections an image, for mAP as for AP50: MMDetection's default takes 1,000 for AP50.
val_evaluator = dict(proposal_nums=(1, 10, 100))
test_evaluator = dict(proposal_nums=(1, 10, 100))
