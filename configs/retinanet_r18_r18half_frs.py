_base_ = [
    '_base_/datasets/streets_detection.py',
    '_base_/distillers/retinanet_r18half_frs.py',
    '_base_/schedules/detection_quick.py',
    '_base_/detection_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/retinanet_r18_streets.py',
        checkpoint='work_dirs/retinanet_r18_streets/best.pth',
    ),
    distill=dict(
        feature=dict(weight=0.005, schedule=dict(end=50)),
        head=dict(weight=0.02, schedule=dict(end=50)),
    ),
)
