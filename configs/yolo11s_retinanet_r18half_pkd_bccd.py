# RetinaNet-R18half under the normalised pyramid of a YOLO11s, at the strides that both have.
_base_ = './retinanet_r18_r18half_frs_bccd.py'
feature = dict(loss=dict(type='PKDLoss'), adapter=dict(type='Conv2d', kernel_size=1), weight=4.0)
model = dict(
    teacher=dict(
        config='configs/teachers/yolo11s_bccd.py', checkpoint='work_dirs/yolo11s_bccd/best.pth'
    ),
    distill=dict(
        _delete_=True,
        stride_8=dict(feature, student='neck[0]', teacher='neck[0]'),
        stride_16=dict(feature, student='neck[1]', teacher='neck[1]'),
        stride_32=dict(feature, student='neck[2]', teacher='neck[2]'),
    ),
)
