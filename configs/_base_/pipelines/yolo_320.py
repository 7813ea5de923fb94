# YOLO's augmentation at 320 x 320; see yolo_640.py, which differs only in sizes.
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
