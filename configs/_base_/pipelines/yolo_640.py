# YOLO's augmentation at 640 x 640, for mmkd.ScheduledMixDataset. First mosaic: a random part of it
# is shown at 0.5 to 1.5 of its size. Later single images. Then letterbox, HSV jitter and flip.
#
# Differences to the reference implementation:
# * The part of the mosaic can lie anywhere; the reference takes it near the centre.
#   MMDetection's RandomAffine would show only the corner.
# * Letterbox: an image is scaled to fit, and the data preprocessor pads its batch with grey on the
#   right and at the bottom.
# * HSV: the reference scales hue, saturation and value by up to 1.5, 70 and 40 %. MMDetection adds
#   to them. The numbers here are the sums that a medium colour would get. MMDetection leaves out
#   each of the three half of the time, and hue changes by -1, 0 or 1.
# * After mosaic ends, the reference still scales and shifts single images at random. Here they are
#   only fitted, jittered and flipped.
# * The reference drops cropped boxes with less than 10 % of their area left. Here boxes stay if
#   they are wider and higher than 2 pixels.
mosaic_pipeline = [
    dict(type='Mosaic', img_scale=(640, 640)),
    dict(type='RandomResize', scale=(1280, 1280), ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(640, 640), allow_negative_crop=True),
    dict(type='Resize', scale=(640, 640), keep_ratio=True),
    dict(type='YOLOXHSVRandomAug', hue_delta=2, saturation_delta=70, value_delta=50),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(2, 2), keep_empty=False),
    dict(type='PackDetInputs'),
]
