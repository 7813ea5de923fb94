_base_ = './faster_rcnn_r18_r18half_frs_bccd.py'
model = dict(
    teacher=dict(
        config='configs/teachers/faster_rcnn_efficientnet_lite2_bccd.py',
        checkpoint='work_dirs/faster_rcnn_efficientnet_lite2_bccd/best.pth',
    ),
)
