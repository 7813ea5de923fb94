# YOLO11-n (Jocher & Qiu, 2024) for 20 classes; the other sizes change only `scale`.
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        pad_value=114 / 255,  # after normalisation
    ),
    backbone=dict(type='mmkd.YOLO11Backbone', scale='n'),
    neck=dict(type='mmkd.YOLO11PAFPN', scale='n'),
    bbox_head=dict(
        type='mmkd.YOLO11Head',
        scale='n',
        num_classes=20,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.5),
        loss_bbox=dict(type='CIoULoss', eps=1e-7, loss_weight=7.5),
        loss_dfl=dict(type='DistributionFocalLoss', loss_weight=1.5),
    ),
    train_cfg=dict(
        assigner=dict(
            type='TaskAlignedAssigner', topk=10, iou_calculator=dict(type='mmkd.InsideCIoU')
        ),
        alpha=0.5,
        beta=6.0,
    ),
    test_cfg=dict(
        score_thr=0.001, nms_pre=30000, nms=dict(type='nms', iou_threshold=0.7), max_per_img=300
    ),
)
