# YOLO's augmentation at 320 x 320, for mmkd.ScheduledMixDataset: mosaic, of which a random part
# is seen at 0.5 to 1.5 of its size, while it lasts; then one image. Letterbox, HSV jitter, flip.
#
# The part lies anywhere, the reference's about the middle; MMDetection's RandomAffine would show
# the corner alone. Letterbox: an image is scaled to fit, and the data preprocessor fills its batch
# up with grey, to the right and below. HSV: the reference scales hue, saturation and value by up
# to 1.5, 70 and 40 %; MMDetection adds, so these are the sums that a middling colour would see.
# It leaves each of the three out half of the time, and of hue a whole number remains: -1, 0 or 1.
#
# When mosaic has ended, the reference goes on to scale and shift its single images at random; here
# they are only fitted, jittered and flipped. Of cut boxes the reference drops those with less than
# 10 % of their area left; here all stay that are wider and higher than 2 pixels.
mosaic_pipeline = [
    dict(type='Mosaic', img_scale=(320, 320)),
    dict(type='RandomResize', scale=(640, 640), ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(320, 320), allow_negative_crop=True),
    dict(type='Resize', scale=(320, 320), keep_ratio=True),
    dict(type='YOLOXHSVRandomAug', hue_delta=2, saturation_delta=70, value_delta=50),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(2, 2), keep_empty=False),
    dict(type='PackDetInputs'),
]
