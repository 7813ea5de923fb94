_base_ = './retinanet_r18_r18half_frs_bccd.py'
model = dict(
    teacher=dict(
        config='configs/teachers/retinanet_efficientnet_lite2_bccd.py',
        checkpoint='work_dirs/retinanet_efficientnet_lite2_bccd/best.pth',
    ),
)
